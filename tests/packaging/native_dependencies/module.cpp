#include <nanobind/nanobind.h>

NB_MODULE(smoke_module, module) {
  module.def("successor", [](int number) { return number + 1; });
}
