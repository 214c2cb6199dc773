// A list of items that may be recommended, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>

#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

class AllowList {
 public:
  // Of any sequence of ids with one dimension; raises RequestError for anything else.
  explicit AllowList(nb::handle ids);

  const recblr_allow_list* handle() const { return handle_.get(); }
  int64_t size() const { return recblr_allow_list_size(handle()); }

 private:
  std::shared_ptr<recblr_allow_list> handle_;
};

void bind_allow_list(nb::module_& module);

}  // namespace recblr::python
