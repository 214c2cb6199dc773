// All jobs of a batcher, and the tickets by which callers name them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "batching/job.h"

namespace recblr {

// Not locked.
class Jobs {
 public:
  // A job that nobody uses. Throws std::bad_alloc.
  Job* take();
  // Gives one back; its tickets are void.
  void give(Job* job) noexcept;
  // The job of a ticket, while it is in use; nullptr otherwise.
  Job* find(Ticket ticket) const;
  static Ticket ticket(const Job& job) { return static_cast<Ticket>(job.generation) << 32 | job.slot; }

  size_t in_use() const { return in_use_; }
  // All that there are, those not in use included.
  const std::vector<std::unique_ptr<Job>>& all() const { return all_; }

 private:
  std::vector<std::unique_ptr<Job>> all_;
  Job* free_ = nullptr;  // linked by `next`; the one used last is first
  size_t in_use_ = 0;
};

}  // namespace recblr
