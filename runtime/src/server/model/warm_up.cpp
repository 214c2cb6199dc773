#include "server/model/warm_up.h"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace recblr::server {

namespace {

struct Size {
  int64_t rows, items;  // of each row
};
constexpr double kTimeout = 600;  // seconds, whatever the engine's own is
constexpr Size kSizes[] = {{1, 1}, {1, 50}, {8, 10}, {1, 1000}, {64, 40}};
constexpr size_t kSmallSizes = 3;  // from the first on: a millisecond or less each

// `rows` histories of the model's first items.
template <typename Ids, typename Value>
Expected<Ids> histories(const Bundle& bundle, const Size& size, Value Item::* value) {
  std::vector<Value> row;
  for (int64_t j = 0; j < size.items; ++j) {
    const Expected<Item> item = bundle.try_item(static_cast<int32_t>(j % bundle.n_items() + 1));
    if (!item) return item.error();
    row.push_back((*item).*value);
  }
  Ids ids;
  for (int64_t b = 0; b < size.rows; ++b) ids.add_row(row);
  return ids;
}

// Requests of one size under way at once.
class Runs {
 public:
  Runs(const Engine& engine, const Request& request, size_t count) {
    results_.reserve(count);
    for (size_t j = 0; j < count; ++j) {
      results_.emplace_back();
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        ++open_;
      }
      const Expected<uint64_t> submitted =
          engine.try_submit(request, &results_.back(), [this](Expected<void> done) { ended(std::move(done)); });
      if (!submitted) ended(submitted.error());
    }
  }
  Runs(const Runs&) = delete;
  Runs& operator=(const Runs&) = delete;

  // Waits for all.
  Expected<void> outcome() {
    std::unique_lock<std::mutex> lock(mutex_);
    all_ended_.wait(lock, [this] { return open_ == 0; });
    return outcome_;
  }

 private:
  void ended(Expected<void> done) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // More than the engine lets wait is no fault of the model's.
    if (!done && done.error().status != Status::kOverloaded) outcome_ = std::move(done);
    if (--open_ == 0) all_ended_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable all_ended_;
  int open_ = 0;
  Expected<void> outcome_;
  std::vector<Result> results_;
};

Expected<void> run(const Engine& engine, const recblr_ids& ids, size_t at_once) {
  Request request(ids);
  request.exclude_seen = false;
  request.timeout = kTimeout;
  return Runs(engine, request, at_once).outcome();
}

Expected<void> run_all(const Bundle& bundle, const Engine& engine, WarmUp how) {
  const bool is_first = how == WarmUp::kFirst;
  const size_t n_sizes = is_first ? std::size(kSizes) : kSmallSizes;
  const size_t at_once = is_first ? 2 * static_cast<size_t>(std::max(1, usable_cpus())) : 1;
  for (size_t j = 0; j < n_sizes; ++j) {
    const Size& size = kSizes[j];
    Expected<void> done;
    if (bundle.has_string_ids()) {
      const Expected<StringIds> ids = histories<StringIds>(bundle, size, &Item::text);
      done = ids ? run(engine, *ids, at_once) : ids.error();
    } else {
      const Expected<IntegerIds> ids = histories<IntegerIds>(bundle, size, &Item::integer);
      done = ids ? run(engine, *ids, at_once) : ids.error();
    }
    if (!done) return done;
  }
  return {};
}

}  // namespace

Expected<void> warm_up(const Bundle& bundle, const Engine& engine, WarmUp how) {
  const Expected<void> done = run_all(bundle, engine, how);
  if (done) return done;
  // What is asked here is right, so what cannot be answered is the model's fault.
  const Status status = done.error().status == Status::kInvalidArgument ? Status::kBadBundle : done.error().status;
  return Failure{status, "the model of " + std::string(bundle.path()) + " does not answer: " + done.error().message};
}

}  // namespace recblr::server
