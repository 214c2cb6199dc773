#include "python/engine.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <utility>

#include "python/arrays.h"
#include "python/errors.h"
#include "python/released.h"
#include "python/request.h"
#include "python/waiting.h"

namespace recblr::python {
namespace {

// The process may end, and take an engine's threads along.
void free_engine(recblr_engine* engine) {
  if (!nb::is_alive()) return;
  nb::gil_scoped_release release;
  recblr_engine_free(engine);
}

recblr_batching batching_of(nb::handle settings) {
  recblr_batching batching{};
  batching.struct_size = sizeof batching;
  const auto read = [&](const char* name, auto* field) {
    *field = nb::cast<std::remove_pointer_t<decltype(field)>>(settings[name]);
  };
  read("max_batch_rows", &batching.max_batch_rows);
  read("max_batch_tokens", &batching.max_batch_tokens);
  read("enough_rows", &batching.enough_rows);
  read("enough_tokens", &batching.enough_tokens);
  read("max_delay", &batching.max_delay);
  read("max_queued_rows", &batching.max_queued_rows);
  read("max_queued_tokens", &batching.max_queued_tokens);
  read("timeout", &batching.timeout);
  read("workers", &batching.workers);
  return batching;
}

}  // namespace

Engine::Engine(const Bundle& bundle, int32_t threads, nb::object batching, nb::object backend)
    : bundle_(bundle), is_batching_(!batching.is_none()) {
  recblr_engine_options options{};
  options.struct_size = sizeof options;
  options.threads = threads;
  recblr_batching settings;
  if (is_batching_) {
    settings = batching_of(batching);
    options.batching = &settings;
  }
  recblr_backend made;
  if (!backend.is_none()) {
    backend_ = std::make_shared<PythonBackend>(backend, bundle.state_size());
    made = backend_->description();
    options.backend = &made;
  }
  recblr_engine* engine = nullptr;
  recblr_status status;
  {
    Released released;
    status = recblr_engine_create(bundle_.handle(), &options, &engine);
  }
  if (status != RECBLR_OK && backend_ != nullptr) made.release(made.context);
  check(status);
  handle_ = std::shared_ptr<recblr_engine>(engine, free_engine);
}

// A request, and all memory for its answer.
struct Engine::Asked {
  Asked(const Bundle& bundle, nb::handle items, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only,
        bool new_items)
      : request(bundle, items, k, exclude_seen, exclude, only, new_items) {}

  Request request;
  Result result;
  int64_t n_numbers = 0;           // of states
  std::optional<ArrayView> given;  // [n_numbers], of states
  nb::object new_states;
  float* written = nullptr;  // [n_numbers] of new_states, or NULL
};

nb::object Engine::exception_of(recblr_status status, const std::string& message) const {
  return backend_ == nullptr ? python::exception_of(status, message) : backend_->raised().exception_of(status, message);
}

nb::list Engine::answer_now(const std::shared_ptr<Asked>& asked) {
  recblr_request* const request = asked->request.get();
  const float* const states = asked->given ? asked->given->data<float>() : nullptr;
  if (!is_batching_ || !is_main_thread()) {
    request->states = states;
    request->new_states = asked->written;
    const auto answer = [engine = handle_, asked] {
      return recblr_recommend(engine.get(), asked->request.get(), asked->result.get());
    };
    // A backend of Python's hears signals by itself.
    const bool is_long = backend_ == nullptr && asked->request.is_large();
    const Outcome outcome = is_long ? interruptible(answer) : released(answer);
    if (outcome.status != RECBLR_OK) raise(exception_of(outcome.status, outcome.message));
    return rankings(asked->result.get());
  }
  // An interrupt ends the wait, perhaps before the workers are done with this.
  const auto submission = std::make_shared<Submission>();
  if (states != nullptr) {
    submission->states.assign(states, states + asked->n_numbers);
    request->states = submission->states.data();
  }
  if (asked->written != nullptr) {
    submission->new_states.resize(static_cast<size_t>(asked->n_numbers));
    request->new_states = submission->new_states.data();
  }
  python::submit(handle_.get(), request, submission);
  wait(handle_.get(), submission.get());
  if (submission->status != RECBLR_OK) raise(exception_of(submission->status, submission->message));
  std::copy(submission->new_states.begin(), submission->new_states.end(), asked->written);
  return rankings(submission->result.get());
}

nb::list Engine::recommend(nb::handle histories, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only) {
  return answer_now(std::make_shared<Asked>(bundle_, histories, k, exclude_seen, exclude, only, false));
}

nb::tuple Engine::step(nb::handle states, nb::handle new_items, int64_t k, nb::handle exclude, nb::handle only) {
  const auto asked = std::make_shared<Asked>(bundle_, new_items, k, false, exclude, only, true);
  const int64_t n_rows = asked->request.n_rows(), size = bundle_.state_size();
  void* new_states = nullptr;
  asked->new_states = empty_array(NumberType::kFloat32, &new_states, n_rows, size);
  asked->written = static_cast<float*>(new_states);
  asked->n_numbers = n_rows * size;
  if (!states.is_none()) {
    asked->given.emplace(states, NumberType::kFloat32);
    if (asked->given->count() != asked->n_numbers) {
      raise(RECBLR_INVALID_ARGUMENT, std::to_string(asked->given->count()) + " numbers as states for " +
                                         std::to_string(n_rows) + " rows of " + std::to_string(size));
    }
  }
  nb::list found = answer_now(asked);
  return nb::make_tuple(found, asked->new_states);
}

std::shared_ptr<Submission> Engine::submit(std::shared_ptr<Finished> finished, int64_t number, nb::handle histories,
                                           int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only) {
  Request request(bundle_, histories, k, exclude_seen, exclude, only, false);
  auto submission = std::make_shared<Submission>();
  submission->finished = std::move(finished);
  submission->number = number;
  python::submit(handle_.get(), request.get(), submission);
  return submission;
}

void Engine::cancel(const Submission& submission) {
  Released released;
  recblr_cancel(handle_.get(), submission.ticket);
}

nb::object Engine::answer(const Submission& submission) const {
  if (submission.status == RECBLR_OK) return rankings(submission.result.get());
  return exception_of(submission.status, submission.message);
}

bool Engine::is_busy() const {
  if (!is_batching_) return false;
  recblr_metrics metrics{};
  metrics.struct_size = sizeof metrics;
  return recblr_engine_metrics(handle_.get(), &metrics) == RECBLR_OK && metrics.open_requests > 0;
}

nb::object Engine::metrics() const {
  if (!is_batching_) return nb::none();
  recblr_metrics metrics{};
  metrics.struct_size = sizeof metrics;
  check(recblr_engine_metrics(handle_.get(), &metrics));
  nb::dict found;
  found["queued_rows"] = metrics.queued_rows;
  found["queued_tokens"] = metrics.queued_tokens;
  found["open_requests"] = metrics.open_requests;
  found["running_batches"] = metrics.running_batches;
  found["accepted"] = metrics.accepted;
  found["refused"] = metrics.refused;
  found["answered"] = metrics.answered;
  found["failed"] = metrics.failed;
  found["expired"] = metrics.expired;
  found["cancelled"] = metrics.cancelled;
  found["backend_errors"] = metrics.backend_errors;
  found["batch_tokens"] = metrics.batch_tokens;
  nb::list rows, waits, runs;
  for (const int64_t count : metrics.batch_rows) rows.append(count);
  for (const int64_t count : metrics.wait_seconds) waits.append(count);
  for (const int64_t count : metrics.run_seconds) runs.append(count);
  found["batch_rows"] = nb::make_tuple(nb::tuple(rows), metrics.batch_rows_total);
  found["wait_seconds"] = nb::make_tuple(nb::tuple(waits), metrics.wait_seconds_total);
  found["run_seconds"] = nb::make_tuple(nb::tuple(runs), metrics.run_seconds_total);
  return found;
}

void EngineCloser::close(bool drain, std::optional<double> timeout) const {
  const auto close = [engine = engine_, drain, seconds = timeout.value_or(-1.0)] {
    return recblr_engine_close(engine.get(), drain ? 1 : 0, seconds);
  };
  const Outcome outcome = closing(close);
  if (outcome.status != RECBLR_OK) raise(outcome.status, outcome.message);
}

void Engine::close(bool drain, std::optional<double> timeout) {
  closer().close(drain, timeout);
  if (backend_ != nullptr) backend_->raised().forget();
}

int Engine::visit(const Visitor& visitor) const { return backend_ == nullptr ? 0 : backend_->visit(visitor); }

void Engine::clear() {
  if (backend_ != nullptr) backend_->clear();
}

void bind_engine(nb::module_& module) {
  nb::class_<Submission>(module, "Submission").def_ro("number", &Submission::number);
  nb::class_<Finished>(module, "Finished")
      .def(nb::init<>())
      .def("fileno", &Finished::descriptor)
      .def("take", [](Finished& self) {
        nb::list found;
        for (std::shared_ptr<Submission>& submission : self.take()) found.append(nb::cast(std::move(submission)));
        return found;
      });
  nb::class_<EngineCloser>(module, "EngineCloser").def("close", &EngineCloser::close, nb::arg(), nb::arg().none());
  nb::class_<Engine>(module, "Engine", nb::type_slots(Collected<Engine>::slots))
      .def(nb::init<const Bundle&, int32_t, nb::object, nb::object>(), nb::arg(), nb::arg(), nb::arg().none(),
           nb::arg().none())
      .def("recommend", &Engine::recommend, nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none())
      .def("step", &Engine::step, nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none())
      .def("submit", &Engine::submit, nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(),
           nb::arg().none())
      .def("cancel", &Engine::cancel)
      .def("answer", &Engine::answer)
      .def("metrics", &Engine::metrics)
      .def("closer", &Engine::closer)
      .def("close", &Engine::close, nb::arg(), nb::arg().none())
      .def_prop_ro("description", &Engine::description);
}

}  // namespace recblr::python
