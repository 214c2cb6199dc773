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

namespace recblr::python {
namespace {

unsigned long main_thread = 0;  // in which Python's signal handlers run

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
    backend_ = std::make_shared<PythonBackend>(backend, bundle.n_items(), bundle.state_size());
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
  handle_.reset(engine);
}

void Engine::Closing::operator()(recblr_engine* engine) const {
  if (!nb::is_alive()) return;  // the process ends, and takes its threads along
  nb::gil_scoped_release release;
  recblr_engine_free(engine);
}

nb::object Engine::exception_of(recblr_status status, const std::string& message) const {
  return backend_ == nullptr ? python::exception_of(status, message) : backend_->raised().exception_of(status, message);
}

void Engine::raise(recblr_status status, const std::string& message) const {
  python::raise(exception_of(status, message));
}

nb::list Engine::answer_now(recblr_request* request, const float* states, float* new_states, int64_t n_numbers) {
  if (!is_batching_ || PyThread_get_thread_ident() != main_thread) {
    const Result result;
    request->states = states;
    request->new_states = new_states;
    recblr_status status;
    std::string message;
    {
      Released released;
      status = recblr_recommend(handle_.get(), request, result.get());
      if (status != RECBLR_OK) message = recblr_last_error();
    }
    if (status != RECBLR_OK) raise(status, message);
    return rankings(result.get());
  }
  // An interrupt ends the wait, perhaps before the workers are done with this.
  const auto submission = std::make_shared<Submission>();
  if (states != nullptr) {
    submission->states.assign(states, states + n_numbers);
    request->states = submission->states.data();
  }
  if (new_states != nullptr) {
    submission->new_states.resize(static_cast<size_t>(n_numbers));
    request->new_states = submission->new_states.data();
  }
  python::submit(handle_.get(), request, submission);
  wait(handle_.get(), submission.get());
  if (submission->status != RECBLR_OK) raise(submission->status, submission->message);
  std::copy(submission->new_states.begin(), submission->new_states.end(), new_states);
  return rankings(submission->result.get());
}

nb::list Engine::recommend(nb::handle histories, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only) {
  Request request(bundle_, histories, k, exclude_seen, exclude, only, false);
  return answer_now(request.get(), nullptr, nullptr, 0);
}

nb::tuple Engine::step(nb::handle states, nb::handle new_items, int64_t k, nb::handle exclude, nb::handle only) {
  Request request(bundle_, new_items, k, false, exclude, only, true);
  const int64_t n_rows = request.n_rows(), size = bundle_.state_size();
  void* new_states = nullptr;
  nb::object array = empty_array(NumberType::kFloat32, &new_states, n_rows, size);
  std::optional<ArrayView> given;
  if (!states.is_none()) {
    given.emplace(states, NumberType::kFloat32);
    if (given->count() != n_rows * size) {
      python::raise(RECBLR_INVALID_ARGUMENT, std::to_string(given->count()) + " numbers as states for " +
                                                 std::to_string(n_rows) + " rows of " + std::to_string(size));
    }
  }
  nb::list found =
      answer_now(request.get(), given ? given->data<float>() : nullptr, static_cast<float*>(new_states), n_rows * size);
  return nb::make_tuple(found, array);
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

void Engine::close(bool drain, std::optional<double> timeout) {
  recblr_status status;
  {
    nb::gil_scoped_release release;  // at exit, too
    status = recblr_engine_close(handle_.get(), drain ? 1 : 0, timeout.value_or(-1.0));
  }
  if (backend_ != nullptr) backend_->raised().forget();
  check(status);
}

void bind_engine(nb::module_& module) {
  main_thread = nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
  nb::class_<Submission>(module, "Submission").def_ro("number", &Submission::number);
  nb::class_<Finished>(module, "Finished")
      .def(nb::init<>())
      .def("fileno", &Finished::descriptor)
      .def("take", [](Finished& self) {
        nb::list found;
        for (std::shared_ptr<Submission>& submission : self.take()) found.append(nb::cast(std::move(submission)));
        return found;
      });
  nb::class_<Engine>(module, "Engine")
      .def(nb::init<const Bundle&, int32_t, nb::object, nb::object>(), nb::arg(), nb::arg(), nb::arg().none(),
           nb::arg().none())
      .def("recommend", &Engine::recommend, nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none())
      .def("step", &Engine::step, nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg().none())
      .def("submit", &Engine::submit, nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(),
           nb::arg().none())
      .def("cancel", &Engine::cancel)
      .def("answer", &Engine::answer)
      .def("metrics", &Engine::metrics)
      .def("close", &Engine::close, nb::arg(), nb::arg().none())
      .def_prop_ro("description", &Engine::description);
}

}  // namespace recblr::python
