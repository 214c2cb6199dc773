#include "batching/worker.h"

#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <string>
#include <system_error>

#include "base/error.h"
#include "batching/failure.h"

namespace recblr {

namespace {

thread_local const SharedWork* working_for = nullptr;

// While it lives, threads that this one starts block signals, so that handlers run in the host's threads.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

void name_thread(int worker) {
  char name[16];  // Linux's limit
  std::snprintf(name, sizeof name, "recblr-batch-%d", worker);
#ifdef __APPLE__
  pthread_setname_np(name);
#else
  pthread_setname_np(pthread_self(), name);
#endif
}

// Nothing is known of the queue any more, so every caller is told rather than left waiting.
void give_up(SharedWork* shared, const std::exception_ptr& error) noexcept {
  shared->queue.close();
  try {
    shared->queue.fail_open(("a worker of the engine ended (" + short_reason(error) + ")").c_str(), true);
  } catch (...) {
    shared->queue.fail_open("a worker of the engine ended", true);
  }
}

// Says why so many workers could not be started, or throws what that was.
[[noreturn]] void refuse_threads(const std::exception_ptr& thrown, int count) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::system_error& error) {
    refuse(Code::kConfig, "workers is " + std::to_string(count) + ", and the system gives no more threads (" +
                              error.what() + "): use fewer");
  }
}

void work(const std::shared_ptr<SharedWork>& shared, int worker) noexcept {
  working_for = shared.get();
  name_thread(worker);
  Batch batch;
  try {
    while (shared->queue.take(&batch, worker)) {
      run_batch(*shared->backend, &batch);
      shared->queue.finish(&batch);
    }
  } catch (...) {  // of the clock
    give_up(shared.get(), std::current_exception());
  }
  shared->queue.worker_ended(&batch);
  working_for = nullptr;
}

}  // namespace

std::vector<std::thread> start_workers(const std::shared_ptr<SharedWork>& shared, int count) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(count));
  const BlockedSignals blocked;
  try {
    for (int worker = 0; worker < count; ++worker) {
      shared->queue.worker_started();
      threads.emplace_back(work, shared, worker);
    }
  } catch (...) {
    shared->queue.close();
    for (std::thread& thread : threads) thread.join();
    refuse_threads(std::current_exception(), count);
  }
  return threads;
}

AtWork::AtWork(const SharedWork& shared) noexcept : before_(working_for) { working_for = &shared; }

AtWork::~AtWork() { working_for = before_; }

bool works_here(const SharedWork& shared) noexcept { return working_for == &shared; }

}  // namespace recblr
