// The extension module recblr.runtime._core: the C API of librecblr, for the Python in recblr.runtime.
#include <nanobind/nanobind.h>

#include "python/allow_list.h"
#include "python/answer.h"
#include "python/arrays.h"
#include "python/bundle.h"
#include "python/engine.h"
#include "python/errors.h"
#include "python/ids.h"
#include "python/recommender.h"
#include "python/released.h"
#include "python/store.h"
#include "python/waiting.h"
#include "recblr/recblr.h"

namespace nb = nanobind;
namespace python = recblr::python;

NB_MODULE(_core, module) {
  nb::set_leak_warnings(false);  // objects that live until the process ends are no fault
  python::init_errors();
  python::init_arrays();
  python::init_ids();
  python::init_answer();
  python::init_log();
  python::init_waiting();
  python::bind_bundle(module);
  python::bind_allow_list(module);
  python::bind_engine(module);
  python::bind_store(module);
  python::bind_recommender(module);
  module.attr("MAX_THREADS") = RECBLR_MAX_THREADS;
  module.def("version", &recblr_version);
  module.def("usable_cpus", &recblr_usable_cpus);
  module.def("wait_for_calls", &python::wait_for_released);
}
