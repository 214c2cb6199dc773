#include "batching/batcher.h"

#include <chrono>
#include <mutex>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/fork_guard.h"
#include "base/text.h"
#include "batching/failure.h"
#include "batching/worker.h"

namespace recblr {

namespace {

// What a batcher that nobody closed may take to answer the rest.
constexpr double kExitSeconds = 10.0;

Splitter splitter_of(const Row* rows, int64_t n_rows, const std::optional<double>& timeout) {
  if (timeout) check_timeout(*timeout, Code::kInvalidArgument);
  return {rows, n_rows};
}

// Runs rows in this thread; nullptr, or why that failed. Tells how many seconds it took.
std::exception_ptr failure_of_run(const SharedWork& shared, const Splitter& rows, double* seconds) noexcept {
  const AtWork at_work(shared);
  const auto started = std::chrono::steady_clock::now();
  try {
    shared.backend->run(rows.rows(), rows.n_rows());
    *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    return nullptr;
  } catch (...) {
    return explained(std::current_exception());
  }
}

// Runs a request in this thread, in a worker's place, where one is free. False where it is to be queued: none is, or
// several rows were too large for the memory together, which workers repeat in halves.
bool ran_here(SharedWork* shared, const Splitter& request, std::exception_ptr* error) {
  if (!request.fits(shared->limits) || !shared->queue.enter(request)) return false;
  double seconds = 0;
  *error = failure_of_run(*shared, request, &seconds);
  const bool again = *error != nullptr && request.n_rows() > 1 && is_about_rows(*error);
  const Outcome failed = again ? Outcome::kAgain : Outcome::kFailed;
  shared->queue.leave(request, *error == nullptr ? Outcome::kAnswered : failed, seconds);
  return !again;
}

}  // namespace

struct Batcher::Parts {
  Parts(std::shared_ptr<const Backend> backend, int64_t state_size, const BatchingSettings& settings)
      : shared(std::make_shared<SharedWork>(std::move(backend), settings, state_size)),
        threads(start_workers(shared, settings.workers)) {}

  // Whether a thread that waited for the workers here would wait for itself.
  bool inside() const noexcept { return works_here(*shared) || shared->queue.tells_here(); }

  void join() {
    const std::lock_guard<std::mutex> lock(joining);
    for (std::thread& thread : threads) {
      if (thread.joinable()) thread.join();
    }
  }

  const ForkGuard process{"engine"};
  const std::shared_ptr<SharedWork> shared;
  std::mutex joining;
  std::vector<std::thread> threads;
};

Batcher::Batcher(std::shared_ptr<const Backend> backend, int64_t state_size, const BatchingSettings& settings) {
  no_memory();  // made now, while there is memory
  const BatchingSettings used = checked(settings, backend->limits());
  parts_ = std::make_unique<Parts>(std::move(backend), state_size, used);
}

Batcher::~Batcher() {
  if (parts_->process.forked()) {
    static_cast<void>(parts_.release());  // its threads are the parent's, and its locks may be held
    return;
  }
  try {
    close(true, kExitSeconds);
  } catch (...) {
    // Out of memory for a message: the workers end by themselves.
  }
  for (std::thread& thread : parts_->threads) {
    if (thread.joinable()) thread.detach();
  }
}

// What a thread that runs, submits or cancels still touches outlives a batcher that is destroyed by a `done` meanwhile.

void Batcher::run(const Row* rows, int64_t n_rows, std::optional<double> timeout) {
  const std::shared_ptr<SharedWork> shared = parts_->shared;
  if (works_here(*shared)) {
    refuse(Code::kInvalidArgument,
           "what answers requests made another one of the same engine, and would wait for itself: make it in another "
           "thread");
  }
  parts_->process.check();
  const Splitter request = splitter_of(rows, n_rows, timeout);
  std::exception_ptr failure;
  if (ran_here(shared.get(), request, &failure)) {
    if (failure != nullptr) std::rethrow_exception(failure);
    return;
  }
  Waiter waiter;
  try {
    shared->queue.put(request, nullptr, &waiter, timeout);
  } catch (const std::bad_alloc&) {
    std::rethrow_exception(no_memory());
  }
  if (const std::exception_ptr error = waiter.wait()) std::rethrow_exception(error);
}

bool Batcher::run_now(const Row* rows, int64_t n_rows) {
  const std::shared_ptr<SharedWork> shared = parts_->shared;
  if (works_here(*shared)) return false;
  parts_->process.check();
  std::exception_ptr failure;
  if (!ran_here(shared.get(), splitter_of(rows, n_rows, std::nullopt), &failure)) return false;
  if (failure != nullptr) std::rethrow_exception(failure);
  return true;
}

Ticket Batcher::submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout, bool may_run_here) {
  parts_->process.check();
  const Splitter request = splitter_of(rows, n_rows, timeout);
  const std::shared_ptr<SharedWork> shared = parts_->shared;
  if (may_run_here && !works_here(*shared)) {
    std::exception_ptr error;
    if (ran_here(shared.get(), request, &error)) {
      shared->queue.call(done, std::move(error));
      return 0;
    }
  }
  try {
    return shared->queue.put(request, std::move(done), nullptr, timeout);
  } catch (const std::bad_alloc&) {
    std::rethrow_exception(no_memory());
  }
}

bool Batcher::cancel(Ticket ticket) {
  parts_->process.check();
  const std::shared_ptr<SharedWork> shared = parts_->shared;
  return shared->queue.cancel(ticket);
}

std::string Batcher::description() const { return parts_->shared->backend->description() + ", batching"; }

void Batcher::close(bool drain, std::optional<double> timeout) {
  if (parts_->process.forked()) return;
  BatchQueue& queue = parts_->shared->queue;
  queue.close();
  if (!drain) queue.fail_open("the engine was closed before the request ran", false);
  if (parts_->inside()) return;
  if (queue.wait_until_idle(timeout)) {
    parts_->join();
  } else {
    const std::string reason = "the engine was closed, and had not answered within " + written(*timeout) + " s";
    queue.fail_open(reason.c_str(), true);
  }
}

BatcherMetrics Batcher::metrics() const {
  parts_->process.check();
  return parts_->shared->queue.metrics();
}

}  // namespace recblr
