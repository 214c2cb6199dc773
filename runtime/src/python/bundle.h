// An opened bundle, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>

#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

class Bundle {
 public:
  explicit Bundle(const std::string& path);

  recblr_bundle* handle() const { return handle_.get(); }
  int64_t n_items() const { return recblr_bundle_n_items(handle()); }
  int64_t state_size() const { return recblr_bundle_state_size(handle()); }
  int32_t id_type() const { return recblr_bundle_id_type(handle()); }

  nb::object item(int32_t index) const;
  nb::list items() const;
  // int32 [n], int64 [B + 1], int64 [B]; see recblr_bundle_encode.
  nb::tuple encode(nb::handle rows, const std::string& name) const;

 private:
  std::shared_ptr<recblr_bundle> handle_;
};

void bind_bundle(nb::module_& module);

}  // namespace recblr::python
