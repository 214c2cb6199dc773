#include "users/stores/store.h"

#include <sys/random.h>

#include <algorithm>

#include "base/error.h"
#include "users/items_text.h"

namespace recblr {

void Log::add(int64_t seq, int64_t stamp, std::string_view items) {
  const size_t begin = text.size();
  text.append(items);
  events.push_back({seq, stamp, begin, text.size()});
}

void Log::clear() {
  continues = false;
  events.clear();
  text.clear();
  fault.clear();
}

Store::Store(std::optional<int64_t> max_history) : max_history_(max_history), fork_guard_("store") {
  if (max_history && *max_history < 1) {
    refuse(Code::kConfig, "max_history is " + std::to_string(*max_history) +
                              ": give a whole number of at least 1, or none to keep all");
  }
}

void Store::check_process() const {
  if (fork_guard_.forked()) {
    refuse(Code::kFork, "the store was made in the process that this one is a fork of: make the store after the fork");
  }
}

NewEvent new_event(const Id& user, const Id* items, int64_t n_items, const Id* event_id,
                   std::optional<int64_t> max_history) {
  check_id(user, "user");
  for (int64_t j = 0; j < n_items; ++j) check_id(items[j], "items", j);
  if (event_id != nullptr) check_id(*event_id, "event_id");
  const int64_t kept = max_history ? std::min(n_items, *max_history) : n_items;
  return {key_of(user), event_id == nullptr ? std::string() : key_of(*event_id),
          items_text(items + (n_items - kept), kept), kept};
}

int64_t new_stamp() {
  uint64_t bits = 0;
  // So few bytes are never given in part; the system's generator is what forks do not share.
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) {
    refuse(Code::kInternal, "the system gives no random numbers: check getrandom(2)");
  }
  return static_cast<int64_t>(bits >> 1);
}

std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool is_blank = static_cast<unsigned char>(c) <= ' ';
    if (!is_blank) {
      line += c;
    } else if (!line.empty() && line.back() != ' ') {
      line += ' ';
    }
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line.empty() ? "no reason given" : line;
}

}  // namespace recblr
