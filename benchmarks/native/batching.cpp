// The batcher against its backend alone: throughput when saturated, what it adds to a lone request, and latency at 30%
// load.
//
//     cmake -S . -B build/benchmarks -DRECBLR_BUILD_BENCHMARKS=ON
//     cmake --build build/benchmarks && build/benchmarks/benchmarks/native/batching_benchmark
//
// The backend is a fake that computes for as long as the CPU kernels do on the demo model: a batch, a row and an item
// cost what they were measured to cost. Ratios are medians over rounds in which the sides take turns.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "base/cpus.h"
#include "batching/batcher.h"
#include "load.h"

namespace {

using namespace recblr;
using namespace recblr::benchmarks;

constexpr double kRunMicroseconds = 13, kRowMicroseconds = 15, kItemMicroseconds = 2.5;
constexpr int kCallers = 128, kRounds = 5;
constexpr double kSeconds = 1.0, kLoad = 0.3, kLoneRate = 50;
constexpr int64_t kStateSize = 4;

// Keeps the CPU busy, and not only the clock: threads that share a CPU get less done.
uint64_t compute(int64_t steps) {
  uint64_t value = 1;
  for (int64_t n = 0; n < steps; ++n) value = value * 6364136223846793005u + 1442695040888963407u;
  return value;
}

class TimedBackend : public Backend {
 public:
  explicit TimedBackend(double scale) : scale_(scale) {
    constexpr int64_t kSteps = 20'000'000;
    const auto started = Clock::now();
    sink_ = compute(kSteps);
    steps_per_microsecond_ = static_cast<double>(kSteps) / seconds_since(started) / 1e6;
  }
  void run(const Row* rows, int64_t n_rows) const override {
    double microseconds = kRunMicroseconds;
    for (int64_t b = 0; b < n_rows; ++b) {
      microseconds += kRowMicroseconds + kItemMicroseconds * static_cast<double>(rows[b].n_items);
    }
    const uint64_t value = compute(static_cast<int64_t>(scale_ * microseconds * steps_per_microsecond_));
    for (int64_t b = 0; b < n_rows; ++b) rows[b].state_out[0] = static_cast<float>(value & 1);
  }
  Limits limits() const override { return {1 << 20, 1 << 20, 1 << 20}; }
  std::string description() const override { return "timed"; }

 private:
  double scale_, steps_per_microsecond_;
  uint64_t sink_;
};

// Requests of one row each, of these lengths.
struct Requests {
  explicit Requests(const std::vector<int64_t>& lengths)
      : states(2 * kStateSize * lengths.size()), rows(lengths.size()) {
    items.resize(static_cast<size_t>(*std::max_element(lengths.begin(), lengths.end())), 1);
    for (size_t b = 0; b < lengths.size(); ++b) {
      rows[b].items = items.data();
      rows[b].n_items = lengths[b];
      rows[b].state_in = states.data() + 2 * kStateSize * static_cast<int64_t>(b);
      rows[b].state_out = states.data() + (2 * static_cast<int64_t>(b) + 1) * kStateSize;
    }
  }
  const Row* row(int64_t n) const { return &rows[static_cast<size_t>(n) % rows.size()]; }
  std::vector<int32_t> items;
  std::vector<float> states;
  std::vector<Row> rows;
};

// The backend alone, a thread for each CPU, at this batch size.
double bare_rate(const Backend& backend, const Requests& requests, int64_t rows, double seconds) {
  const int64_t starts = std::max<int64_t>(1, static_cast<int64_t>(requests.rows.size()) / rows);
  std::atomic<int64_t> turn{0};
  return rate_of_threads(usable_cpus(), seconds, rows,
                         [&](int) { backend.run(requests.row(turn++ % starts * rows), rows); });
}

int64_t best_batch(const Backend& backend, const Requests& requests) {
  std::pair<double, int64_t> best{0, 1};
  for (int64_t rows = 1; rows <= 256; rows *= 2) best = std::max(best, {bare_rate(backend, requests, rows, 0.2), rows});
  return best.second;
}

// Requests per second where each answer sends the next request.
double submitted_rate(Batcher* batcher, const Requests& requests, double seconds) {
  std::atomic<int64_t> done{0}, open{0};
  std::mutex mutex;
  std::condition_variable all_done;
  const auto started = Clock::now();
  struct Caller {
    std::function<void(int64_t)> send;
  } caller;
  caller.send = [&](int64_t n) {
    batcher->submit(requests.row(n), 1, [&, n](const std::exception_ptr&) {
      ++done;
      if (seconds_since(started) < seconds) return caller.send(n + kCallers);
      const std::lock_guard<std::mutex> lock(mutex);
      if (--open == 0) all_done.notify_all();
    });
  };
  open = kCallers;
  for (int64_t n = 0; n < kCallers; ++n) caller.send(n);
  std::unique_lock<std::mutex> lock(mutex);
  all_done.wait(lock, [&] { return open == 0; });
  return static_cast<double>(done) / seconds_since(started);
}

void compare(const char* name, const Backend& backend, const Requests& requests, const std::function<double()>& rate) {
  const int64_t rows = best_batch(backend, requests);
  std::vector<double> ratios, rates;
  for (int round = 0; round < kRounds; ++round) {
    const double bare = bare_rate(backend, requests, rows, kSeconds);
    rates.push_back(rate());
    ratios.push_back(rates.back() / bare);
  }
  std::printf("%-28s %8.0f/s, %.2f of the backend alone at its best batch of %lld\n", name, median(rates),
              median(ratios), static_cast<long long>(rows));
}

void compare_latency(const Backend& backend, Batcher* batcher, const Requests& requests) {
  const double rate = kLoad / (kRunMicroseconds + kRowMicroseconds + kItemMicroseconds) * 1e6;
  std::mt19937 random(7);
  std::atomic<int64_t> turn{0};
  std::vector<double> lone, of_submit, of_threads, bare_of_threads;
  std::vector<double> submit_median, threads_median, lone_median;
  for (int round = 0; round < kRounds; ++round) {
    const auto alone = open_loop(kLoneRate, 2 * kSeconds, &random, [&](const std::function<void()>& answered) {
      backend.run(requests.row(turn++), 1);
      answered();
    });
    const auto submitted = open_loop(rate, kSeconds, &random, [&](std::function<void()> answered) {
      batcher->submit(requests.row(turn++), 1, [answered = std::move(answered)](const auto&) { answered(); });
    });
    const auto waited =
        open_loop_of_threads(rate, kSeconds, &random, [&](int) { batcher->run(requests.row(turn++), 1); });
    const auto bare = open_loop_of_threads(rate, kSeconds, &random, [&](int) { backend.run(requests.row(turn++), 1); });
    lone.push_back(median(alone));
    of_submit.push_back(median(submitted, 0.99) / lone.back());
    of_threads.push_back(median(waited, 0.99) / lone.back());
    bare_of_threads.push_back(median(bare, 0.99) / lone.back());
    submit_median.push_back(median(submitted));
    threads_median.push_back(median(waited));
  }
  std::printf(
      "at 30%% load, of a lone request's %.0f us: submitted p50 %.0f us, p99 %.2f times; threads p50 %.0f us, p99 %.2f "
      "times; threads without batcher p99 %.2f times\n",
      median(lone), median(submit_median), median(of_submit), median(threads_median), median(of_threads),
      median(bare_of_threads));
}

// What `run` adds to a backend that does nothing.
void measure_lone(const Requests& requests) {
  const auto backend = std::make_shared<TimedBackend>(0);
  Batcher batcher(backend, kStateSize, {});
  constexpr int kCalls = 1'000'000;
  const auto time = [&](const std::function<void(int64_t)>& call) {
    const auto started = Clock::now();
    for (int64_t n = 0; n < kCalls; ++n) call(n);
    return seconds_since(started) / kCalls * 1e9;
  };
  const double bare = time([&](int64_t n) { backend->run(requests.row(n), 1); });
  const double batched = time([&](int64_t n) { batcher.run(requests.row(n), 1); });
  std::printf("a lone run: %.0f ns more than the backend's\n", batched - bare);
}

}  // namespace

int main() {
  const Requests histories(history_lengths(512)), steps(std::vector<int64_t>(512, 1));

  measure_lone(steps);
  const auto backend = std::make_shared<TimedBackend>(1);
  Batcher batcher(backend, kStateSize, {});
  compare("histories by submit", *backend, histories, [&] { return submitted_rate(&batcher, histories, kSeconds); });
  compare("steps by submit", *backend, steps, [&] { return submitted_rate(&batcher, steps, kSeconds); });
  compare("steps by blocked threads", *backend, steps, [&] {
    std::atomic<int64_t> turn{0};
    return rate_of_threads(kCallers, kSeconds, 1, [&](int) { batcher.run(steps.row(turn++), 1); });
  });
  compare_latency(*backend, &batcher, steps);
  return 0;
}
