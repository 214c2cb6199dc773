#include "python/allow_list.h"

#include "python/errors.h"
#include "python/ids.h"
#include "python/released.h"

namespace recblr::python {

AllowList::AllowList(nb::handle ids) {
  if (!is_row(ids)) raise(RECBLR_INVALID_ARGUMENT, "ids is " + shown(ids) + ": give a sequence of item ids");
  IdRows rows(RECBLR_STRING_IDS);  // as it may be for any model, what can be none of one of strings is no id
  rows.add_row(ids);
  const recblr_ids view = rows.view();
  recblr_allow_list* created = nullptr;
  recblr_status status;
  {
    Released released;
    status = recblr_allow_list_create(&view, &created);
  }
  check(status);
  handle_ = std::shared_ptr<recblr_allow_list>(created, recblr_allow_list_free);
}

void bind_allow_list(nb::module_& module) {
  nb::class_<AllowList>(module, "AllowList")
      .def(nb::init<nb::handle>(), nb::arg().none())
      .def("__len__", &AllowList::size);
}

}  // namespace recblr::python
