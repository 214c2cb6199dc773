// One model in the service of a Recommender, with what it has made of users' histories.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "users/metrics.h"
#include "users/state_cache.h"
#include "users/stores/store.h"

namespace recblr {

// Seconds that a run of a model that is to take over may wait, whatever the engine's own bound for requests is.
constexpr double kRebuildTimeout = 3600;

// Threads may share it.
class Serving {
 public:
  // Adds to `counts`.
  Serving(std::shared_ptr<Engine> engine, std::shared_ptr<Store> store, int64_t cache_bytes,
          std::shared_ptr<UserCounts> counts);
  ~Serving();

  const std::shared_ptr<Engine>& engine() const { return engine_; }
  StateCache& cache() { return cache_; }

  // Tells of a new event that is stored: the state of a user whose history it continues here need not ask for it.
  void add(std::string_view user, const Appended& appended, const Id* items, int64_t n);

  // Brings the states of users [n], keys, up to date, and ranks. `work` holds the encoded request, of n rows, but for
  // the users' own items; after that it holds the rankings.
  void rank(const std::string_view* users, int64_t n, bool exclude_seen, std::optional<double> timeout, Work* work);

  // Makes the states of users [n], keys, who are asked for soon: one after another, with rests as long as each takes,
  // so that requests to another model beside it are not delayed. `work` as for `rank`.
  void rebuild(const std::string_view* users, int64_t n, Work* work);

  // As `rank` for one user, where that needs no waiting and takes about as long as the ranking itself: the store does
  // not wait, the state is cached, few items came since, and the engine has a place free. False where it is not so.
  bool rank_now(std::string_view user, bool exclude_seen, Work* work);

 private:
  struct Part;
  class Lease;
  struct How {
    bool exclude_seen;
    bool may_wait;
    bool is_alone;  // so that a history that cannot be read fails the call; else its user is answered as a new one
    std::optional<double> timeout;  // seconds; none: the engine's own
  };

  // What it returns is as for rank_now; true where it `may_wait`.
  bool rank_part(const std::string_view* users, int64_t begin, int64_t end, const How& how, Work* whole, Part* part);
  void bring_up_to_date(std::string_view user, const Log& log, bool is_alone, int64_t row, Part* part);
  bool add_log(const Log& log, std::vector<int32_t>* indices, UserItems* items);
  int32_t index_of(const Id& item);

  const std::shared_ptr<Engine> engine_;
  const std::shared_ptr<Store> store_;
  StateCache cache_;
  const std::shared_ptr<UserCounts> counts_;
  std::atomic<bool> has_warned_{false};  // of ids that can be none of the model's
  std::mutex mutex_;
  std::vector<std::unique_ptr<Part>> idle_;  // memory to be used again
};

}  // namespace recblr
