// What the native benchmarks share: load of many callers, and what is told of it.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace recblr::benchmarks {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

inline double median(std::vector<double> values, double quantile = 0.5) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(quantile * static_cast<double>(values.size() - 1))];
}

// Lengths of `n` whole histories: log-normal, with a median of 90.
inline std::vector<int64_t> history_lengths(int n) {
  std::mt19937 random(1);
  std::lognormal_distribution<double> length(4.5, 1.0);
  std::vector<int64_t> lengths(static_cast<size_t>(n));
  for (int64_t& chosen : lengths) {
    chosen = std::clamp(static_cast<int64_t>(length(random)), int64_t{5}, int64_t{2000});
  }
  return lengths;
}

// Rows per second of so many threads, each of which calls again and again: `call` gets the number of its thread, and
// answers so many rows.
inline double rate_of_threads(int n_threads, double seconds, int64_t rows_of_call,
                              const std::function<void(int)>& call) {
  std::atomic<int64_t> n_calls{0};
  const auto started = Clock::now();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < n_threads; ++thread) {
    threads.emplace_back([&, thread] {
      int64_t n = 0;
      for (; seconds_since(started) < seconds; ++n) call(thread);
      n_calls += n;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(n_calls * rows_of_call) / seconds_since(started);
}

// Random starts at a rate; what starts in the first 0.2 s is not counted, as a CPU that idled before has to wake.
class Schedule {
 public:
  Schedule(double rate, double seconds, std::mt19937* random)
      : gap_(rate),
        random_(random),
        next_(Clock::now()),
        counted_(next_ + std::chrono::milliseconds(200)),
        end_(counted_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {}

  // The next start, or false when it is over.
  bool next(Clock::time_point* start) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (next_ >= end_) return false;
    next_ += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap_(*random_)));
    *start = next_;
    return true;
  }
  bool counts(Clock::time_point start) const { return start >= counted_; }

 private:
  std::mutex mutex_;
  std::exponential_distribution<double> gap_;
  std::mt19937* random_;
  Clock::time_point next_, counted_, end_;
};

// Latencies in microseconds, from the scheduled starts; `send` has the function called at the answer.
inline std::vector<double> open_loop(double rate, double seconds, std::mt19937* random,
                                     const std::function<void(std::function<void()>)>& send) {
  Schedule schedule(rate, seconds, random);
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<double> latencies;
  size_t open = 0;
  Clock::time_point start;
  while (schedule.next(&start)) {
    std::this_thread::sleep_until(start);
    {
      const std::lock_guard<std::mutex> lock(mutex);
      ++open;
    }
    send([&, start] {
      const double latency = seconds_since(start) * 1e6;
      const std::lock_guard<std::mutex> lock(mutex);
      if (schedule.counts(start)) latencies.push_back(latency);
      if (--open == 0) changed.notify_all();
    });
  }
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [&] { return open == 0; });
  return latencies;
}

// As `open_loop`, of 16 threads that each take the next start and wait for their answer; `call` gets the thread's
// number.
inline std::vector<double> open_loop_of_threads(double rate, double seconds, std::mt19937* random,
                                                const std::function<void(int)>& call) {
  constexpr int kThreads = 16;
  Schedule schedule(rate, seconds, random);
  std::mutex mutex;
  std::vector<double> latencies;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      Clock::time_point start;
      while (schedule.next(&start)) {
        std::this_thread::sleep_until(start);
        call(thread);
        const double latency = seconds_since(start) * 1e6;
        const std::lock_guard<std::mutex> lock(mutex);
        if (schedule.counts(start)) latencies.push_back(latency);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return latencies;
}

}  // namespace recblr::benchmarks
