#include "batching/jobs.h"

namespace recblr {

Job* Jobs::take() {
  if (free_ == nullptr) {
    auto made = std::make_unique<Job>();
    made->slot = static_cast<uint32_t>(all_.size());
    all_.push_back(std::move(made));
    free_ = all_.back().get();
  }
  Job* job = free_;
  free_ = job->next;
  job->next = nullptr;
  job->in_use = true;
  ++in_use_;
  return job;
}

void Jobs::give(Job* job) noexcept {
  job->in_use = false;
  ++job->generation;
  if (job->generation == 0) job->generation = 1;  // no ticket is 0
  job->before = nullptr;
  job->next = free_;
  free_ = job;
  --in_use_;
}

Job* Jobs::find(Ticket ticket) const {
  const auto slot = static_cast<size_t>(ticket & 0xFFFFFFFFu);
  if (slot >= all_.size()) return nullptr;
  Job* job = all_[slot].get();
  return job->in_use && Jobs::ticket(*job) == ticket ? job : nullptr;
}

}  // namespace recblr
