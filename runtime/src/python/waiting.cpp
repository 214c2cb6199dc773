#include "python/waiting.h"

#include <pthread.h>
#include <signal.h>

#include <deque>
#include <memory>
#include <thread>
#include <utility>

namespace recblr::python {
namespace {

unsigned long main_thread = 0;

// A call that another thread makes.
struct Task {
  std::function<recblr_status()> call;  // may hold objects of Python's: goes with the interpreter's lock
  std::mutex mutex;
  std::condition_variable changed;
  bool is_done = false, is_abandoned = false;
  Outcome outcome;
};

// Threads that make calls for the main thread: one that waits for the next, and those whose calls were abandoned.
class Callers {
 public:
  void make(std::shared_ptr<Task> task) {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
    if (idle_ < tasks_.size()) {
      start();
    } else {
      changed_.notify_one();
    }
  }

 private:
  void start() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // which the thread inherits: signals are the main thread's
    try {
      std::thread([this] { work(); }).detach();
    } catch (...) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      tasks_.pop_back();
      throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (idle_ == 0 || !tasks_.empty()) {
      ++idle_;
      changed_.wait(lock, [this] { return !tasks_.empty(); });
      --idle_;
      std::shared_ptr<Task> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      run(task.get());
      task.reset();
      lock.lock();
    }
  }

  static void run(Task* task) {
    const Counted counted;
    task->outcome.status = task->call();
    if (task->outcome.status != RECBLR_OK) task->outcome.message = recblr_last_error();
    bool is_abandoned;
    {
      const std::lock_guard<std::mutex> lock(task->mutex);
      task->is_done = true;
      is_abandoned = task->is_abandoned;
      task->changed.notify_all();
    }
    if (!is_abandoned) return;  // who waits for it lets the call go
    if (!nb::is_alive()) {
      new std::function<recblr_status()>(std::move(task->call));  // the process ends, and takes it along
      return;
    }
    nb::gil_scoped_acquire acquire;
    task->call = nullptr;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> tasks_;
  size_t idle_ = 0;
};

// Never destroyed, as its threads use it to the last. A fork has none of them.
Callers* callers = nullptr;
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] { callers = nullptr; });

}  // namespace

void init_waiting() {
  main_thread = nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
}

bool is_main_thread() { return PyThread_get_thread_ident() == main_thread; }

Outcome interruptible(std::function<recblr_status()> call) {
  if (!is_main_thread()) return released(call);
  if (callers == nullptr) callers = new Callers;
  const auto task = std::make_shared<Task>();
  task->call = std::move(call);
  callers->make(task);
  try {
    wait_for(&task->mutex, &task->changed, &task->is_done, [&] {
      const std::lock_guard<std::mutex> lock(task->mutex);
      task->is_abandoned = !task->is_done;
    });
  } catch (...) {
    if (!task->is_abandoned) task->call = nullptr;
    throw;
  }
  task->call = nullptr;
  return std::move(task->outcome);
}

Outcome closing(std::function<recblr_status()> call) {
  if (!Released::is_ending()) return interruptible(std::move(call));
  Outcome outcome;
  const nb::gil_scoped_release release;
  outcome.status = call();
  if (outcome.status != RECBLR_OK) outcome.message = recblr_last_error();
  return outcome;
}

}  // namespace recblr::python
