#include "users/stores/opening.h"

#include "base/error.h"
#include "base/text.h"
#include "users/stores/memory.h"
#include "users/stores/redis_address.h"
#ifdef RECBLR_WITH_SQLITE
#include "users/stores/sqlite.h"
#endif
#ifdef RECBLR_WITH_REDIS
#include "users/stores/redis.h"
#endif

namespace recblr {

namespace {

std::shared_ptr<Store> open_address(const std::string& where, [[maybe_unused]] const StoreSettings& settings) {
#ifdef RECBLR_WITH_REDIS
  return std::make_shared<RedisStore>(where, settings.max_history, settings.prefix);
#else
  parse_redis_address(where);  // what is none is refused as in any build
  refuse(Code::kUnsupported, "this build keeps no histories in Redis: build it with -DRECBLR_REDIS=ON");
#endif
}

std::shared_ptr<Store> open_folder([[maybe_unused]] const std::string& where,
                                   [[maybe_unused]] const StoreSettings& settings) {
#ifdef RECBLR_WITH_SQLITE
  const auto synchronous = settings.synchronous == "FULL" ? Synchronous::kFull : Synchronous::kNormal;
  return std::make_shared<SqliteStore>(where, settings.max_history, synchronous);
#else
  refuse(Code::kUnsupported, "this build keeps no histories in SQLite: build it with -DRECBLR_SQLITE=ON");
#endif
}

}  // namespace

std::shared_ptr<Store> open_store(const std::string& where, const StoreSettings& settings) {
  if (settings.synchronous != "FULL" && settings.synchronous != "NORMAL") {
    refuse(Code::kConfig, "synchronous is " + shown(settings.synchronous) + ": give \"FULL\" or \"NORMAL\"");
  }
  if (where.empty()) return std::make_shared<MemoryStore>(settings.max_history);
  return where.find("://") == std::string::npos ? open_folder(where, settings) : open_address(where, settings);
}

}  // namespace recblr
