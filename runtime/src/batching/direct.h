// Runs rows at once, in the caller's thread, split where the backend has limits.
#pragma once

#include <atomic>
#include <memory>

#include "batching/executor.h"

namespace recblr {

class DirectExecutor : public Executor {
 public:
  explicit DirectExecutor(std::shared_ptr<const Backend> backend);

  void run(const Row* rows, int64_t n_rows, std::optional<double> timeout) override;
  // Runs before it returns.
  Ticket submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout) override;
  bool cancel(Ticket ticket) override;
  std::string description() const override;
  void close(bool drain, std::optional<double> timeout) override;

 private:
  std::shared_ptr<const Backend> backend_;
  std::atomic<bool> closed_{false};
};

}  // namespace recblr
