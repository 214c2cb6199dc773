// Opens a store of histories by its name.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "users/stores/store.h"

namespace recblr {

struct StoreSettings {
  std::optional<int64_t> max_history;  // how many of a user's latest items to keep; nullopt for all
  std::string synchronous = "FULL";    // what an append to SQLite waits for: "FULL" or "NORMAL"
  std::string prefix = "recblr";       // of all keys in Redis
};

// `where`: empty for this process's memory; a folder, made if need be, for SQLite; or an address of a Redis or Valkey
// server, see RedisAddress. Throws Error: kConfig for what is none of these, or settings out of range; kStore where it
// cannot be opened; kUnsupported where the library was built without it.
std::shared_ptr<Store> open_store(const std::string& where, const StoreSettings& settings);

}  // namespace recblr
