#include "python/bundle.h"

#include <nanobind/stl/string.h>

#include <vector>

#include "python/arrays.h"
#include "python/errors.h"
#include "python/ids.h"
#include "python/released.h"

namespace recblr::python {

Bundle::Bundle(const std::string& path) {
  const char* place = terminated(path, "the bundle's path", RECBLR_BAD_BUNDLE);
  recblr_bundle* opened = nullptr;
  recblr_status status;
  {
    Released released;
    status = recblr_bundle_open(place, &opened);
  }
  check(status);
  handle_ = std::shared_ptr<recblr_bundle>(opened, recblr_bundle_free);
}

nb::object Bundle::item(int32_t index) const {
  int64_t integer = 0, length = 0;
  const char* text = nullptr;
  check(recblr_bundle_item(handle(), index, &integer, &text, &length, nullptr));
  if (id_type() == RECBLR_INTEGER_IDS) return nb::int_(integer);
  return text_of(text, static_cast<size_t>(length));
}

nb::list Bundle::items() const {
  nb::list found;
  for (int64_t index = 1; index <= n_items(); ++index) found.append(item(static_cast<int32_t>(index)));
  return found;
}

nb::tuple Bundle::encode(nb::handle rows, const std::string& name) const {
  IdRows ids(id_type());
  ids.add_rows(rows, name.c_str(), false);
  const recblr_ids view = ids.view();
  std::vector<int32_t> indices(static_cast<size_t>(view.offsets[view.n_rows]));
  std::vector<int64_t> offsets(static_cast<size_t>(view.n_rows) + 1), unknown(static_cast<size_t>(view.n_rows));
  recblr_status status;
  {
    Released released;
    status = recblr_bundle_encode(handle(), &view, name.c_str(), indices.data(), offsets.data(), unknown.data());
  }
  check(status);
  return nb::make_tuple(new_array(NumberType::kInt32, indices.data(), offsets.back()),
                        new_array(NumberType::kInt64, offsets.data(), view.n_rows + 1),
                        new_array(NumberType::kInt64, unknown.data(), view.n_rows));
}

void bind_bundle(nb::module_& module) {
  nb::class_<Bundle>(module, "Bundle")
      .def("__init__",
           [](Bundle* self, nb::object path) {
             nb::object text = nb::module_::import_("os").attr("fspath")(path);
             nb::object bytes = nb::module_::import_("os").attr("fsencode")(text);
             const auto encoded = nb::cast<nb::bytes>(bytes);
             new (self) Bundle({encoded.c_str(), encoded.size()});
           })
      .def_prop_ro(
          "path",
          [](const Bundle& self) { return nb::steal(PyUnicode_DecodeFSDefault(recblr_bundle_path(self.handle()))); })
      .def_prop_ro("manifest",
                   [](const Bundle& self) {
                     const std::string json = recblr_bundle_manifest(self.handle());
                     return text_of(json.data(), json.size());
                   })
      .def_prop_ro("id_type",
                   [](const Bundle& self) { return self.id_type() == RECBLR_INTEGER_IDS ? "integer" : "string"; })
      .def("initial_state",
           [](const Bundle& self) {
             return new_array(NumberType::kFloat32, recblr_bundle_initial_state(self.handle()), self.state_size());
           })
      .def("item", &Bundle::item)
      .def("items", &Bundle::items)
      .def("encode", &Bundle::encode, nb::arg().none(), nb::arg());
}

}  // namespace recblr::python
