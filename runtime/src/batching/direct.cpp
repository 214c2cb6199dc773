#include "batching/direct.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "base/error.h"
#include "batching/failure.h"
#include "batching/halves.h"
#include "batching/scratch.h"
#include "batching/splitter.h"

namespace recblr {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

// The first failure of a request ends it.
class FirstFailure {
 public:
  int64_t first_wanted(int64_t begin, int64_t end) const noexcept { return error_ == nullptr ? begin : end; }
  void ran(int64_t, int64_t, double) noexcept {}
  bool raised(const std::exception_ptr& error) noexcept { return is_about_rows(error); }
  void failed(int64_t, std::exception_ptr error) noexcept { error_ = std::move(error); }
  const std::exception_ptr& error() const { return error_; }

 private:
  std::exception_ptr error_;
};

constexpr int64_t kNoBound = std::numeric_limits<int64_t>::max();
constexpr Limits kUnlimited{kNoBound, kNoBound, kNoBound};

}  // namespace

struct DirectExecutor::Parts {
  Parts(std::shared_ptr<const Backend> runs, int64_t size)
      : backend(std::move(runs)), limits(clamped(kUnlimited, backend->limits())), state_size(size), scratch(size) {}

  // Returns nullptr, or why the run failed. Throws Error(kClosed, kOutOfMemory) where it did not begin.
  std::exception_ptr run(const Splitter& request, const std::optional<double>& timeout);
  void run_parts(Splitter rows, float* block, const std::optional<double>& timeout) const;

  const std::shared_ptr<const Backend> backend;
  const Limits limits;
  const int64_t state_size;
  std::mutex mutex;
  std::condition_variable ended;
  ScratchPool scratch;
  int64_t running = 0;
  bool closed = false;
};

void DirectExecutor::Parts::run_parts(Splitter rows, float* block, const std::optional<double>& timeout) const {
  const Clock::time_point started = Clock::now();
  while (rows.rows_left() > 0) {
    const double waited = timeout ? seconds_since(started) : 0;
    if (timeout && waited > *timeout) std::rethrow_exception(late(waited));
    const Part part = rows.take(limits, limits, true);
    if (part.piece()) {
      Row piece;
      write_rows(part, rows.rows(), limits, block, state_size, &piece);
      backend->run(&piece, 1);
    } else {
      FirstFailure failure;
      run_in_halves(*backend, rows.rows() + part.first, 0, part.n_rows, &failure);
      if (failure.error() != nullptr) std::rethrow_exception(failure.error());
    }
  }
}

std::exception_ptr DirectExecutor::Parts::run(const Splitter& request, const std::optional<double>& timeout) {
  const bool pieces = request.longest() > limits.tokens;
  float* block = nullptr;
  std::exception_ptr error;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (closed) refuse(Code::kClosed, "the engine is closed: make a new one");
    try {
      if (pieces) block = scratch.take();
    } catch (const std::bad_alloc&) {
      std::rethrow_exception(no_memory());
    }
    ++running;
  }
  try {
    run_parts(request, block, timeout);
  } catch (...) {
    error = explained(std::current_exception());
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (block != nullptr) scratch.give(block);
    --running;
    if (closed && running == 0) ended.notify_all();
  }
  return error;
}

DirectExecutor::DirectExecutor(std::shared_ptr<const Backend> backend, int64_t state_size) {
  no_memory();  // made now, while there is memory
  parts_ = std::make_unique<Parts>(std::move(backend), state_size);
}

DirectExecutor::~DirectExecutor() = default;

void DirectExecutor::run(const Row* rows, int64_t n_rows, std::optional<double> timeout) {
  if (timeout) check_timeout(*timeout, Code::kInvalidArgument);
  if (const std::exception_ptr error = parts_->run({rows, n_rows}, timeout)) std::rethrow_exception(error);
}

Ticket DirectExecutor::submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout,
                              bool /*may_run_here*/) {
  if (timeout) check_timeout(*timeout, Code::kInvalidArgument);
  std::exception_ptr error = parts_->run({rows, n_rows}, timeout);
  try {
    done(std::move(error));
  } catch (...) {
    // It must not throw, and nobody is there to be told.
  }
  return 0;
}

bool DirectExecutor::cancel(Ticket) { return false; }

std::string DirectExecutor::description() const { return parts_->backend->description(); }

void DirectExecutor::close(bool, std::optional<double> timeout) {
  constexpr double kLongest = 1e8;
  std::unique_lock<std::mutex> lock(parts_->mutex);
  parts_->closed = true;
  const auto idle = [this] { return parts_->running == 0; };
  if (!timeout || !(*timeout < kLongest)) {
    parts_->ended.wait(lock, idle);
  } else {
    parts_->ended.wait_for(lock, std::chrono::duration<double>(std::max(0.0, *timeout)), idle);
  }
}

}  // namespace recblr
