// Runs rows at once, in the caller's thread, split where the backend has limits.
#pragma once

#include <memory>

#include "batching/executor.h"

namespace recblr {

// `run` and `submit` take no memory from the heap that grows with traffic. A run that fails is repeated in halves, as a
// batcher does: rows too many for the memory become two runs.
class DirectExecutor : public Executor {
 public:
  // `state_size` is S of the rows' states.
  DirectExecutor(std::shared_ptr<const Backend> backend, int64_t state_size);
  ~DirectExecutor() override;

  void run(const Row* rows, int64_t n_rows, std::optional<double> timeout = std::nullopt) override;
  // False: a place to run in may have to be waited for.
  bool run_now(const Row* /*rows*/, int64_t /*n_rows*/) override { return false; }
  // Runs before it returns.
  Ticket submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout = std::nullopt,
                bool may_run_here = false) override;
  // False: what was submitted is done.
  bool cancel(Ticket ticket) override;
  std::string description() const override;
  // What runs is waited for, also without `drain`: it has begun.
  void close(bool drain, std::optional<double> timeout) override;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace recblr
