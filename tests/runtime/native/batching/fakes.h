// A backend whose results are easily told, requests for it, and a clock that stands still.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "base/error.h"
#include "batching/batcher.h"

namespace recblr {

constexpr int32_t kPoison = 666;
constexpr int64_t kStateSize = 2;
constexpr std::chrono::seconds kWait{60};  // a test that hangs fails after so long

// Sums: a state [count, sum] grows by each item. The ranking is [sum, count, sum of the excluded items].
class FakeBackend : public Backend {
 public:
  using Run = std::vector<int64_t>;  // items per row

  explicit FakeBackend(Limits limits = {1 << 20, 1 << 20, 1 << 20}) : limits_(limits) {}

  void run(const Row* rows, int64_t n_rows) const override {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      Run run;
      for (int64_t b = 0; b < n_rows; ++b) run.push_back(rows[b].n_items);
      runs_.push_back(std::move(run));
      threads_.push_back(std::this_thread::get_id());
      ++entered_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
      if (fail_) fail_();
    }
    if (n_rows > max_rows) throw std::bad_alloc();
    for (int64_t b = 0; b < n_rows; ++b) {
      if (std::count(rows[b].items, rows[b].items + rows[b].n_items, kPoison) > 0) {
        throw std::runtime_error("index out\nof range");
      }
    }
    for (int64_t b = 0; b < n_rows; ++b) answer(rows[b]);
  }

  static void answer(const Row& row) {
    const float count = row.state_in[0] + static_cast<float>(row.n_items);
    const float sum = std::accumulate(row.items, row.items + row.n_items, row.state_in[1]);
    row.state_out[0] = count;
    row.state_out[1] = sum;
    const int32_t excluded = std::accumulate(row.exclude.items, row.exclude.items + row.exclude.count, 0);
    const float results[] = {sum, count, static_cast<float>(excluded)};
    for (int64_t n = 0; n < row.k; ++n) {
      row.top_scores[n] = results[n];
      row.top_items[n] = static_cast<int32_t>(results[n]);
    }
  }

  Limits limits() const override { return limits_; }
  std::string description() const override { return "a fake"; }

  // Runs wait until it is opened again.
  void shut() {
    set([this] { open_ = false; });
  }
  void open() {
    set([this] { open_ = true; });
  }
  // Called in each run, to throw.
  void fail_with(std::function<void()> fail) {
    set([&] { fail_ = std::move(fail); });
  }
  bool wait_for_runs(size_t n) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kWait, [&] { return entered_ >= n; });
  }
  std::vector<Run> runs() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return runs_;
  }
  std::vector<std::thread::id> threads() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return threads_;
  }

  int64_t max_rows = 1 << 20;

 private:
  void set(const std::function<void()>& change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    change();
    changed_.notify_all();
  }

  const Limits limits_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable std::vector<Run> runs_;
  mutable std::vector<std::thread::id> threads_;
  mutable size_t entered_ = 0;
  bool open_ = true;
  std::function<void()> fail_;
};

using Lists = std::vector<std::vector<int32_t>>;

// A request and the memory for its results.
class Asked {
 public:
  explicit Asked(Lists lists, Lists exclude = {}, float state = 0, int64_t k = 3)
      : lists_(std::move(lists)),
        exclude_(std::move(exclude)),
        states_in_(2 * lists_.size(), state),
        states_out_(2 * lists_.size(), -1),
        items_(static_cast<size_t>(k) * lists_.size(), -1),
        scores_(static_cast<size_t>(k) * lists_.size(), -1),
        rows_(lists_.size()) {
    exclude_.resize(lists_.size());
    for (size_t b = 0; b < lists_.size(); ++b) {
      Row& row = rows_[b];
      row.items = lists_[b].data();
      row.n_items = static_cast<int64_t>(lists_[b].size());
      row.state_in = states_in_.data() + 2 * b;
      row.state_out = states_out_.data() + 2 * b;
      row.exclude = {exclude_[b].data(), static_cast<int64_t>(exclude_[b].size())};
      row.k = k;
      row.top_items = items_.data() + static_cast<size_t>(k) * b;
      row.top_scores = scores_.data() + static_cast<size_t>(k) * b;
    }
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

  const Row* rows() const { return rows_.data(); }
  int64_t n_rows() const { return static_cast<int64_t>(rows_.size()); }

  // What the ranking should be, by the rows' own items.
  std::vector<float> expected() const {
    std::vector<float> scores;
    for (const Row& row : rows_) {
      float state[2], ranked[3];
      int32_t ranked_items[3];
      Row alone = row;
      alone.state_out = state;
      alone.top_items = ranked_items;
      alone.top_scores = ranked;
      FakeBackend::answer(alone);
      scores.insert(scores.end(), ranked, ranked + row.k);
    }
    return scores;
  }
  const std::vector<float>& scores() const { return scores_; }
  const std::vector<float>& states() const { return states_out_; }

  // What `done` was called with; only one call is right.
  Done done() {
    return [this](std::exception_ptr error) {
      if (calls_.fetch_add(1) > 0) return;
      error_ = std::move(error);
      told_.set_value();
    };
  }
  bool is_told() const { return calls_ > 0; }
  int calls() const { return calls_; }

  // "" for an answer, else the error's message.
  std::string wait() {
    if (future_.wait_for(kWait) != std::future_status::ready) return "nobody was told";
    if (error_ == nullptr) return "";
    try {
      std::rethrow_exception(error_);
    } catch (const Error& failed) {
      code = failed.code();
      return failed.what();
    } catch (...) {
      return "not an Error";
    }
  }
  Code code = Code::kOk;  // after `wait`

 private:
  Lists lists_, exclude_;
  std::vector<float> states_in_, states_out_;
  std::vector<int32_t> items_;
  std::vector<float> scores_;
  std::vector<Row> rows_;
  std::atomic<int> calls_{0};
  std::exception_ptr error_;
  std::promise<void> told_;
  std::shared_future<void> future_{told_.get_future().share()};
};

// The message of the Error that a call throws, and its code; "" where it throws none.
template <typename Call>
std::pair<std::string, Code> error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.what(), error.code()};
  }
  return {"", Code::kOk};
}

inline std::vector<int32_t> range(int32_t first, int32_t last) {
  std::vector<int32_t> items(static_cast<size_t>(last - first + 1));
  std::iota(items.begin(), items.end(), first);
  return items;
}

// A clock that only the test moves.
class FakeClock {
 public:
  std::function<double()> reader() {
    return [this] { return now_.load(); };
  }
  void advance(double seconds) { now_ = now_ + seconds; }
  double now() const { return now_; }

 private:
  std::atomic<double> now_{100.0};
};

// Limits so small that tests meet them.
constexpr Limits kSmall{4, 8, 6};

inline BatchingSettings small_settings(int workers = 1) {
  BatchingSettings settings;
  settings.batch = kSmall;
  settings.enough_rows = kSmall.rows;
  settings.enough_tokens = kSmall.tokens;
  settings.short_tokens = 2;
  settings.workers = settings.short_places = workers;
  return settings;
}

}  // namespace recblr
