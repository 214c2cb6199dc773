// Answers for one bundle: ids in, one run, rankings out. Users' states are kept by the caller.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/fork_guard.h"
#include "batching/batcher.h"
#include "batching/executor.h"
#include "bundle/bundle.h"
#include "engine/request.h"

namespace recblr {

// Keeps nothing between calls; threads may share it.
class Engine {
 public:
  // Without batching settings each request runs by itself, in its caller's thread.
  Engine(std::shared_ptr<const Bundle> bundle, std::shared_ptr<const Backend> backend,
         const std::optional<BatchingSettings>& batching);
  ~Engine();

  // Answers a request in `work`; see Request. Throws Error: kInvalidArgument for k out of range, states that are not
  // finite, another number of rows, or ids as Vocabulary::encode_row refuses them ("histories[1]: item id ..."); what
  // Executor::run throws; Error(kFork) in a fork.
  void answer(const Request& request, Work* work);

  // The same without waiting: `work` and what the request's states point to must stay until `done` was called. Throws
  // what is wrong with the request, and as Executor::submit; `done` is not called then.
  Ticket submit(const Request& request, Work* work, Done done);
  bool cancel(Ticket ticket);

  // The three steps of `answer`. Whoever knows the model's indices fills n_rows, k, items, exclude, has_only (empty
  // where no row has an allow-list), allowed, unknown, states and new_states of `work`, with offsets, in place of
  // `encode`.
  void encode(const Request& request, Work* work) const;
  void run(Work* work, std::optional<double> timeout);
  // The same in this thread, where that needs no waiting; false, and nothing was done, where it does.
  bool run_now(Work* work);
  // Counts what was ranked, without the places that were left over, and ranks the most popular items for rows of which
  // nothing is known. Throws Error(kInvalidArgument) where scores are not numbers.
  void finish(Work* work) const;

  const std::shared_ptr<const Bundle>& bundle() const { return bundle_; }
  std::string description() const;                // "..., batching" where it batches
  std::optional<BatcherMetrics> metrics() const;  // where it batches
  void close(bool drain, std::optional<double> timeout);

 private:
  void prepare(Work* work) const;  // makes work->rows, and room for the results
  void finish_submitted(Work* work, const std::exception_ptr& error) const;  // and calls work->done
  ForkGuard fork_guard_{"engine"};
  std::shared_ptr<const Bundle> bundle_;
  std::unique_ptr<Executor> executor_;
  Batcher* batcher_ = nullptr;
};

}  // namespace recblr
