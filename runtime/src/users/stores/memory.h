// Histories in this process's memory: for tests, and for services that may lose them.
#pragma once

#include <atomic>
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
  bool append_now(const NewEvent* events, int64_t n, Appended* appended) override;
  void read(const std::string_view* users, const Place* places, int64_t n, Log* logs) override;
  bool waits() const override { return false; }
  bool forget(std::string_view user) override;
  void close() override;  // drops all histories

 private:
  struct History;
  void check_open() const;
  std::shared_ptr<History> find(const std::string& user) const;  // nullptr where there is none
  std::shared_ptr<History> find_or_add(const std::string& user);
  Appended append_one(const NewEvent& event);

  // Held for no longer than a look-up: each history has a lock of its own, so that reading a long one holds up nobody
  // else. One that is forgotten lives on in the calls that have found it.
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<History>> histories_;
  std::atomic<bool> is_closed_{false};
};

}  // namespace recblr
