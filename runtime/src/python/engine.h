// An engine, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "python/backend.h"
#include "python/bundle.h"
#include "python/submission.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

class Engine {
 public:
  // `batching` has the fields of recblr_batching, or is None; `backend` is an object as recblr.runtime.Backend
  // describes it, or None.
  Engine(const Bundle& bundle, int32_t threads, nb::object batching, nb::object backend);

  nb::list recommend(nb::handle histories, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only);
  // `states` is float32 [B, S] or None; returns rankings and float32 [B, S].
  nb::tuple step(nb::handle states, nb::handle new_items, int64_t k, nb::handle exclude, nb::handle only);

  // `recommend` for an event loop: its answer is taken from `finished` by this number. Returns what `cancel` takes.
  std::shared_ptr<Submission> submit(std::shared_ptr<Finished> finished, int64_t number, nb::handle histories,
                                     int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only);
  void cancel(const Submission& submission);
  // The rankings of a submission that is done, or an exception.
  nb::object answer(const Submission& submission) const;

  // The exception for a request that failed: what the backend raised, where it is of Python.
  nb::object exception_of(recblr_status status, const std::string& message) const;

  recblr_engine* handle() const { return handle_.get(); }
  const Bundle& bundle() const { return bundle_; }
  nb::object metrics() const;
  const char* description() const { return recblr_engine_description(handle_.get()); }
  void close(bool drain, std::optional<double> timeout);

 private:
  struct Closing {
    void operator()(recblr_engine* engine) const;
  };

  // Answers in this thread, or waits for it; `states` and `new_states` are [B * S] or NULL.
  nb::list answer_now(recblr_request* request, const float* states, float* new_states, int64_t n_numbers);
  [[noreturn]] void raise(recblr_status status, const std::string& message) const;

  Bundle bundle_;
  std::shared_ptr<PythonBackend> backend_;
  bool is_batching_;
  std::unique_ptr<recblr_engine, Closing> handle_;
};

void bind_engine(nb::module_& module);

}  // namespace recblr::python
