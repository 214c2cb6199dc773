#include "server/model/disposal.h"

#include <malloc.h>

#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

namespace recblr::server {

namespace {

// A model's memory lies among others' that stays: without this, each of the C library's heaps keeps what it had at
// most.
void give_memory_back() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace

// Models' deleters share it, as they may outlive the disposal.
struct Disposal::Queue {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::unique_ptr<const ServedModel>> waiting;
  bool is_closed = false;
  std::mutex telling;  // of `told`, also while it is called
  std::function<void(const ServedModel&)> told;

  void add(const ServedModel* model) noexcept {
    std::unique_ptr<const ServedModel> owned(model);
    const std::lock_guard<std::mutex> lock(mutex);
    if (is_closed) return;  // freed here, by `owned`
    waiting.push_back(std::move(owned));
    changed.notify_one();
  }

  void run() {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return is_closed || !waiting.empty(); });
      if (waiting.empty()) return;
      std::vector<std::unique_ptr<const ServedModel>> freed;
      freed.swap(waiting);
      lock.unlock();
      for (auto& model : freed) free(std::move(model));
      give_memory_back();
      lock.lock();
    }
  }

  void free(std::unique_ptr<const ServedModel> model) {
    const std::lock_guard<std::mutex> lock(telling);
    if (told) told(*model);
  }
};

Disposal::Disposal() : queue_(std::make_shared<Queue>()), thread_([queue = queue_] { queue->run(); }) {}

Disposal::~Disposal() {
  {
    const std::lock_guard<std::mutex> lock(queue_->mutex);
    queue_->is_closed = true;
    queue_->changed.notify_one();
  }
  thread_.join();
}

ServedModelPtr Disposal::owned(std::unique_ptr<const ServedModel> model) {
  return ServedModelPtr(model.release(), [queue = queue_](const ServedModel* unused) { queue->add(unused); });
}

void Disposal::on_free(std::function<void(const ServedModel&)> told) {
  const std::lock_guard<std::mutex> lock(queue_->telling);
  queue_->told = std::move(told);
}

}  // namespace recblr::server
