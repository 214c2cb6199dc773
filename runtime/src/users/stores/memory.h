// Histories in this process's memory: for tests, and for services that may lose them.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "users/stores/store.h"

namespace recblr {

class MemoryStore : public Store {
 public:
  explicit MemoryStore(std::optional<int64_t> max_history);
  ~MemoryStore() override;

  void append(const NewEvent* events, int64_t n, Appended* appended) override;
  void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) override;
  bool waits() const override { return false; }
  bool forget(std::string_view user) override;
  void close() override;  // drops all histories

 private:
  struct History;
  void check_open() const;
  Appended append_one(const NewEvent& event);

  mutable std::mutex mutex_;
  std::unordered_map<std::string, History> histories_;
  bool is_closed_ = false;
};

}  // namespace recblr
