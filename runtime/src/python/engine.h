// An engine, for Python.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "python/backend.h"
#include "python/bundle.h"
#include "python/collected.h"
#include "python/submission.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

// Closes an engine, which it keeps from being freed, but none of Python's objects with it.
class EngineCloser {
 public:
  explicit EngineCloser(std::shared_ptr<recblr_engine> engine) : engine_(std::move(engine)) {}
  void close(bool drain, std::optional<double> timeout) const;

 private:
  std::shared_ptr<recblr_engine> engine_;
};

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

  const std::shared_ptr<recblr_engine>& handle() const { return handle_; }
  // Whether a request may have to wait for others.
  bool is_busy() const;
  const Bundle& bundle() const { return bundle_; }
  nb::object metrics() const;
  const char* description() const { return recblr_engine_description(handle_.get()); }
  // For its owner's finalizer; it holds nothing of Python's.
  EngineCloser closer() const { return EngineCloser(handle_); }
  void close(bool drain, std::optional<double> timeout);

  int visit(const Visitor& visitor) const;
  void clear();

 private:
  struct Asked;

  // Answers in this thread, or waits for it.
  nb::list answer_now(const std::shared_ptr<Asked>& asked);

  Bundle bundle_;
  std::shared_ptr<PythonBackend> backend_;
  bool is_batching_;
  std::shared_ptr<recblr_engine> handle_;
};

void bind_engine(nb::module_& module);

}  // namespace recblr::python
