#include "python/backend.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "python/arrays.h"
#include "python/errors.h"

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

}  // namespace

PythonBackend::PythonBackend(nb::object backend, int64_t n_items, int64_t state_size)
    : backend_(std::move(backend)),
      n_items_(n_items),
      state_size_(state_size),
      description_(utf8_of(backend_.attr("description"))) {}

recblr_backend PythonBackend::description() {
  recblr_backend made{};
  made.struct_size = sizeof made;
  made.run = &PythonBackend::run_in_python;
  made.release = &PythonBackend::release;
  made.description = description_.c_str();
  made.max_k = nb::cast<int64_t>(backend_.attr("max_k"));
  nb::object limits = backend_.attr("limits");
  made.max_rows = nb::cast<int64_t>(limits.attr("rows"));
  made.max_tokens = nb::cast<int64_t>(limits.attr("tokens"));
  made.max_exclusions = nb::cast<int64_t>(limits.attr("exclusions"));
  made.context = new std::shared_ptr<PythonBackend>(shared_from_this());  // at last: it is the engine's to release
  return made;
}

void PythonBackend::release(void* context) {
  if (!nb::is_alive()) return;  // the process ends, and takes it along
  nb::gil_scoped_acquire acquire;
  delete static_cast<std::shared_ptr<PythonBackend>*>(context);
}

recblr_status PythonBackend::run_in_python(void* context, const recblr_backend_run* run) {
  if (!nb::is_alive()) return recblr_set_error(RECBLR_CLOSED, "the interpreter ends: ask before that");
  PythonBackend& self = **static_cast<std::shared_ptr<PythonBackend>*>(context);
  nb::gil_scoped_acquire acquire;
  try {
    self.run(*run);
    return RECBLR_OK;
  } catch (nb::python_error& error) {
    return self.remember(error.value());
  } catch (const std::exception& error) {
    return recblr_set_error(RECBLR_BACKEND_FAILED, error.what());
  }
}

void PythonBackend::run(const recblr_backend_run& run) const {
  const int64_t rows = run.n_rows, k = run.k;
  nb::object result = backend_.attr("run")(new_array(NumberType::kInt32, run.items, run.n_items),
                                           new_array(NumberType::kInt32, run.offsets, rows + 1),
                                           new_array(NumberType::kFloat32, run.state_in, rows, state_size_),
                                           new_array(NumberType::kInt32, run.exclude, run.n_exclude, 2), nb::int_(k));
  nb::object top_items = result[0], top_scores = result[1], new_states = result[2];
  const ArrayView states(new_states, NumberType::kFloat32);
  check_shape(states, "states", rows, state_size_);
  std::memcpy(run.state_out, states.data<float>(), sizeof(float) * static_cast<size_t>(states.count()));
  if (k == 0) return;
  const ArrayView items(top_items, NumberType::kInt32), scores(top_scores, NumberType::kFloat32);
  check_shape(items, "items", rows, k);
  check_shape(scores, "scores", rows, k);
  for (int64_t i = 0; i < rows * k; ++i) {
    const int32_t item = items.data<int32_t>()[i];
    if ((item < 1 || item > n_items_) && !(scores.data<float>()[i] == -INFINITY)) {
      refuse("the backend gave item " + std::to_string(item) + " of " + std::to_string(n_items_));
    }
  }
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
