#include "python/backend.h"

#include <cstring>
#include <utility>

#include "python/arrays.h"
#include "python/errors.h"
#include "python/ids.h"
#include "python/numbers.h"

namespace recblr::python {
namespace {

[[noreturn]] void refuse(const std::string& what) { raise(RECBLR_BACKEND_FAILED, what + ": its graph is another"); }

void check_shape(const ArrayView& array, const char* name, int64_t rows, int64_t columns) {
  const int64_t found = array.n_dims() > 0 ? array.size(0) : 0;
  if (found != rows) refuse("the backend gave " + std::to_string(found) + " rows for " + std::to_string(rows));
  if (array.n_dims() != 2 || array.size(1) != columns) {
    refuse("the backend gave " + std::to_string(array.count()) + " numbers as " + name + " where [" +
           std::to_string(rows) + ", " + std::to_string(columns) + "] are needed");
  }
}

// An attribute of a backend; raises ConfigError where there is none.
nb::object attribute(nb::handle object, const char* name) {
  nb::object found = nb::getattr(object, name, nb::none());
  if (found.is_none()) {
    raise(RECBLR_BAD_CONFIG, "backend is " + shown(object) + ", which has no " + name +
                                 ": give one with all that recblr.runtime.Backend has");
  }
  return found;
}

int64_t number(nb::handle object, const char* name) {
  nb::object value = attribute(object, name);
  int64_t found = 0;
  if (!as_whole(value, &found) || found < 0) {
    raise(RECBLR_BAD_CONFIG, std::string("the backend's ") + name + " is " + shown(value) + ": give a whole number");
  }
  return found;
}

}  // namespace

PythonBackend::PythonBackend(nb::object backend, int64_t state_size)
    : backend_(std::move(backend)), state_size_(state_size) {
  attribute(backend_, "run");
  nb::object description = attribute(backend_, "description");
  if (!nb::isinstance<nb::str>(description)) {
    raise(RECBLR_BAD_CONFIG, "the backend's description is " + shown(description) + ": give a text of one line");
  }
  description_ = utf8_of(description);
}

recblr_backend PythonBackend::description() {
  recblr_backend made{};
  made.struct_size = sizeof made;
  made.run = &PythonBackend::run_in_python;
  made.release = &PythonBackend::release;
  made.description = description_.c_str();
  made.max_k = number(backend_, "max_k");
  nb::object limits = attribute(backend_, "limits");
  made.max_rows = number(limits, "rows");
  made.max_tokens = number(limits, "tokens");
  made.max_exclusions = number(limits, "exclusions");
  made.context = new std::shared_ptr<PythonBackend>(shared_from_this());  // at last: it is the engine's to release
  return made;
}

void PythonBackend::release(void* context) {
  if (!nb::is_alive()) return;  // the process ends, and takes it along
  nb::gil_scoped_acquire acquire;
  delete static_cast<std::shared_ptr<PythonBackend>*>(context);
}

int PythonBackend::visit(const Visitor& visitor) const {
  if (const int stop = visitor(backend_)) return stop;
  return raised_.visit(visitor);
}

void PythonBackend::clear() {
  const nb::object gone = std::move(backend_);
  raised_.forget();
}

recblr_status PythonBackend::run_in_python(void* context, const recblr_backend_run* run) {
  if (!nb::is_alive()) return recblr_set_error(RECBLR_CLOSED, "the interpreter ends: ask before that");
  PythonBackend& self = **static_cast<std::shared_ptr<PythonBackend>*>(context);
  nb::gil_scoped_acquire acquire;
  const nb::object backend = self.backend_;  // held as long as it runs
  if (!backend.is_valid()) return recblr_set_error(RECBLR_CLOSED, "the engine is closed: make a new one");
  try {
    self.run(backend, *run);
    return RECBLR_OK;
  } catch (nb::python_error& error) {
    return self.remember(error.value());
  } catch (const std::exception& error) {
    return recblr_set_error(RECBLR_BACKEND_FAILED, error.what());
  }
}

void PythonBackend::run(nb::handle backend, const recblr_backend_run& run) const {
  const int64_t rows = run.n_rows, k = run.k;
  nb::object result = backend.attr("run")(new_array(NumberType::kInt32, run.items, run.n_items),
                                          new_array(NumberType::kInt32, run.offsets, rows + 1),
                                          new_array(NumberType::kFloat32, run.state_in, rows, state_size_),
                                          new_array(NumberType::kInt32, run.exclude, run.n_exclude, 2), nb::int_(k));
  if (!is_sequence(result) || nb::len(result) != 3) {
    raise(RECBLR_BACKEND_FAILED, "the backend gave " + shown(result) + ": give top_items, top_scores and states");
  }
  nb::object top_items = result[0], top_scores = result[1], new_states = result[2];
  const ArrayView states(new_states, NumberType::kFloat32);
  check_shape(states, "states", rows, state_size_);
  std::memcpy(run.state_out, states.data<float>(), sizeof(float) * static_cast<size_t>(states.count()));
  if (k == 0) return;
  const ArrayView items(top_items, NumberType::kInt32), scores(top_scores, NumberType::kFloat32);
  check_shape(items, "items", rows, k);
  check_shape(scores, "scores", rows, k);
  std::memcpy(run.top_items, items.data<int32_t>(), sizeof(int32_t) * static_cast<size_t>(rows * k));
  std::memcpy(run.top_scores, scores.data<float>(), sizeof(float) * static_cast<size_t>(rows * k));
}

recblr_status PythonBackend::remember(nb::handle exception) {
  const std::string message = "the backend failed on this request (" + name_of_type(exception) + ": " +
                              short_reason(exception) +
                              "): check its items and states; other requests are not affected";
  return raised_.remember(exception, RECBLR_BACKEND_FAILED, message);
}

}  // namespace recblr::python
