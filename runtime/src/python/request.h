// A request in Python's terms, read for the C API.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "python/bundle.h"
#include "python/ids.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Holds all that a `recblr_request` points to, but for states.
class Request {
 public:
  // `new_items` tells whether `items` are what is new since a state, and not whole histories. `k` is from 1 to V.
  // Raises RequestError for arguments of another form.
  Request(const Bundle& bundle, nb::handle items, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only,
          bool new_items);
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  int64_t n_rows() const { return items_.n_rows(); }
  recblr_request* get() { return &request_; }
  // Whether computing it takes so long that someone may want to interrupt it.
  bool is_large() const;

 private:
  void read_only(nb::handle only, int32_t id_type);
  void add_entry(nb::handle entry);

  IdRows items_;
  std::optional<IdRows> exclude_, only_;  // where there are some
  std::vector<uint8_t> all_;
  std::vector<const recblr_allow_list*> lists_;
  std::vector<nb::object> held_;  // the lists' owners
  recblr_ids exclude_view_{}, only_view_{};
  recblr_request request_{};
};

}  // namespace recblr::python
