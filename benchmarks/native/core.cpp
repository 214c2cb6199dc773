// The core on a bundle, through recblr.h: what a request costs beside the kernels, the batcher against the bare engine
// when saturated and at 30% load, and how often a request takes memory from the heap.
//
//     build/benchmarks/benchmarks/native/core_benchmark BUNDLE
//
// Prints JSON. With --bare it reads lines of a number of items and seconds, and answers each with the microseconds of
// the kernels' run for one such row, so that another program can take turns with it. Runs have one thread. Ratios are
// medians over rounds in which the sides take turns.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "allocations.h"
#include "backends/native.h"
#include "base/cpus.h"
#include "batching/waiter.h"
#include "bundle/bundle.h"
#include "calls.h"
#include "load.h"

namespace {

using namespace recblr;
using namespace recblr::benchmarks;
using nlohmann::json;

constexpr int kRounds = 7, kTurns = 40, kHistories = 512, kCallers = 128;
constexpr double kTurnSeconds = 0.02, kSearchSeconds = 0.2, kSeconds = 0.6, kLoad = 0.3, kLoneRate = 50;

// Runs of the kernels alone for one row of so many items.
class BareRow {
 public:
  BareRow(const std::string& path, int64_t n_items)
      : bundle_(Bundle::open(path)),
        backend_(bundle_, 1),
        items_(static_cast<size_t>(kVariants * n_items)),
        state_(static_cast<size_t>(bundle_->state_size())),
        n_items_(n_items) {
    std::mt19937 random(2);
    std::uniform_int_distribution<int32_t> item(1, static_cast<int32_t>(bundle_->n_items()));
    for (int32_t& chosen : items_) chosen = item(random);
    row_.n_items = n_items;
    row_.state_in = bundle_->initial_state().data();
    row_.state_out = state_.data();
    row_.k = kResults;
    row_.top_items = top_items_;
    row_.top_scores = top_scores_;
  }
  void run() {
    row_.items = items_.data() + n_items_ * (turn_++ % kVariants);
    backend_.run(&row_, 1);
  }

 private:
  static constexpr int64_t kVariants = 64;

  std::shared_ptr<const Bundle> bundle_;
  NativeBackend backend_;
  std::vector<int32_t> items_;
  std::vector<float> state_;
  int64_t n_items_, turn_ = 0;
  int32_t top_items_[kResults];
  float top_scores_[kResults];
  Row row_;
};

// Microseconds of a call: the median of short blocks, of which another process disturbs few, over so many seconds.
template <typename Function>
double microseconds_of(const Function& call, double seconds) {
  constexpr int kCalls = 8;
  std::vector<double> blocks;
  const auto started = Clock::now();
  while (seconds_since(started) < seconds) {
    const auto begun = Clock::now();
    for (int i = 0; i < kCalls; ++i) call();
    blocks.push_back(seconds_since(begun) / kCalls * 1e6);
  }
  return median(std::move(blocks));
}

// One row of so many items: recblr_recommend, with ids and a state in, ids and a state out, against the kernels' run.
json measure_single(const std::string& path, recblr_bundle* bundle, int64_t n_items) {
  BareRow bare(path, n_items);
  const OpenEngine engine = make_engine(bundle, false);
  const Questions questions(bundle, std::vector<int64_t>(64, n_items), 1);
  Call call(bundle, 1, true);
  std::vector<double> bare_us, recommend_us, ratios;
  for (int turn = 0; turn < kTurns; ++turn) {
    bare_us.push_back(microseconds_of([&] { bare.run(); }, kTurnSeconds));
    recommend_us.push_back(microseconds_of([&] { call.recommend(engine.get(), questions.next()); }, kTurnSeconds));
    ratios.push_back(recommend_us.back() / bare_us.back());
  }
  return {{"items", n_items},
          {"bare_us", median(bare_us)},
          {"recommend_us", median(recommend_us)},
          {"ratio", median(ratios)}};
}

// The bare engine with a thread for each CPU, at one batch size.
class BareLoad {
 public:
  BareLoad(recblr_bundle* bundle, recblr_engine* engine, const std::vector<int64_t>& lengths, int64_t rows, bool steps)
      : engine_(engine),
        rows_(rows),
        questions_(bundle, lengths, rows),
        calls_(make_calls(bundle, usable_cpus(), rows, steps)) {}

  double rate(double seconds) {
    return rate_of_threads(static_cast<int>(calls_.size()), seconds, rows_, [&](int thread) {
      calls_[static_cast<size_t>(thread)].recommend(engine_, questions_.next());
    });
  }

 private:
  recblr_engine* engine_;
  int64_t rows_;
  Questions questions_;
  std::vector<Call> calls_;
};

int64_t best_batch(recblr_bundle* bundle, recblr_engine* engine, const std::vector<int64_t>& lengths, bool steps) {
  std::pair<double, int64_t> best{0, 1};
  for (int64_t rows = 1; rows <= 256; rows *= 2) {
    BareLoad load(bundle, engine, lengths, rows, steps);
    load.rate(kSearchSeconds / 4);
    best = std::max(best, {load.rate(kSearchSeconds), rows});
  }
  return best.second;
}

// Requests per second where each answer sends its caller's next request.
class SubmittedLoad {
 public:
  SubmittedLoad(recblr_bundle* bundle, recblr_engine* engine, const Questions* questions, bool steps)
      : engine_(engine), questions_(questions) {
    for (Call& call : make_calls(bundle, kCallers, 1, steps)) callers_.push_back({this, std::move(call), 0});
  }
  double rate(double seconds) {
    n_open_ = kCallers;
    seconds_ = seconds;
    started_ = Clock::now();
    for (Caller& caller : callers_) {
      caller.n_done = 0;
      caller.send();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [&] { return n_open_ == 0; });
    const double seconds_taken = seconds_since(started_);
    int64_t n_done = 0;
    for (const Caller& caller : callers_) n_done += caller.n_done;
    return static_cast<double>(n_done) / seconds_taken;
  }

 private:
  struct Caller {
    SubmittedLoad* load;
    Call call;
    int64_t n_done = 0;  // its own, so that callers do not wait for each other

    void send() { call.submit(load->engine_, load->questions_->next(), answered, this); }
  };

  static void answered(void* context, recblr_status status) {
    check(status);
    auto* caller = static_cast<Caller*>(context);
    SubmittedLoad& load = *caller->load;
    ++caller->n_done;
    if (seconds_since(load.started_) < load.seconds_) return caller->send();
    const std::lock_guard<std::mutex> lock(load.mutex_);
    if (--load.n_open_ == 0) load.all_done_.notify_all();
  }

  recblr_engine* engine_;
  const Questions* questions_;
  std::vector<Caller> callers_;
  int n_open_ = 0;
  double seconds_ = 0;
  Clock::time_point started_;
  std::mutex mutex_;
  std::condition_variable all_done_;
};

// Answers per second of as many blocked threads where nothing is computed: what the system's waking and sleeping alone
// allows.
double rate_of_handovers(double seconds) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Waiter*> waiting;
  Bell bells[kCallers];
  size_t turn = 0;
  bool ended = false;
  const auto work = [&] {
    std::vector<Waiter*> taken;
    for (;;) {
      {
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [&] { return ended || !waiting.empty(); });
        if (waiting.empty()) return;
        taken.swap(waiting);
        ++turn;
      }
      Bell* bell = taken.front()->bell();
      for (Waiter* waiter : taken) waiter->answer(nullptr);
      bell->ring();
      taken.clear();
    }
  };
  std::vector<std::thread> workers;
  for (int worker = 0; worker < usable_cpus(); ++worker) workers.emplace_back(work);
  const double rate = rate_of_threads(kCallers, seconds, 1, [&](int) {
    Waiter waiter;
    bool is_first = false;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      waiter.set_bell(&bells[turn % kCallers]);
      is_first = waiting.empty();
      waiting.push_back(&waiter);
    }
    if (is_first) changed.notify_one();
    waiter.wait();
  });
  {
    const std::lock_guard<std::mutex> lock(mutex);
    ended = true;
  }
  changed.notify_all();
  for (std::thread& worker : workers) worker.join();
  return rate;
}

// Requests of one row each, through the batcher, against the bare engine at its best batch.
json measure_saturated(recblr_bundle* bundle, const std::vector<int64_t>& lengths, bool steps) {
  const OpenEngine direct = make_engine(bundle, false), batching = make_engine(bundle, true);
  const int64_t rows = best_batch(bundle, direct.get(), lengths, steps);
  BareLoad bare(bundle, direct.get(), lengths, rows, steps);
  const Questions questions(bundle, lengths, 1);
  SubmittedLoad submitted(bundle, batching.get(), &questions, steps);
  std::vector<Call> calls = make_calls(bundle, kCallers, 1, steps);
  const auto of_threads = [&](double seconds) {
    return rate_of_threads(kCallers, seconds, 1, [&](int thread) {
      calls[static_cast<size_t>(thread)].recommend(batching.get(), questions.next());
    });
  };
  submitted.rate(kSearchSeconds);
  of_threads(kSearchSeconds);
  std::vector<double> bare_rates, submitted_rates, thread_rates, submitted_ratios, thread_ratios, handovers;
  for (int round = 0; round < kRounds; ++round) {
    bare_rates.push_back(bare.rate(kSeconds));
    submitted_rates.push_back(submitted.rate(kSeconds));
    thread_rates.push_back(of_threads(kSeconds));
    submitted_ratios.push_back(submitted_rates.back() / bare_rates.back());
    thread_ratios.push_back(thread_rates.back() / bare_rates.back());
    handovers.push_back(rate_of_handovers(kSeconds / 2));
  }
  return {{"bare_rows", rows},
          {"bare_per_s", median(bare_rates)},
          {"submit", {{"per_s", median(submitted_rates)}, {"ratio", median(submitted_ratios)}}},
          {"threads", {{"per_s", median(thread_rates)}, {"ratio", median(thread_ratios)}}},
          {"handovers_per_s", median(handovers)}};
}

// Percentiles of one side's rounds, and the 99th against a lone request's median.
class Latencies {
 public:
  void add(const std::vector<double>& latencies, double lone) {
    p50_.push_back(median(latencies));
    p99_.push_back(median(latencies, 0.99));
    to_lone_.push_back(p99_.back() / lone);
  }
  json to_json() const {
    return {{"p50_us", median(p50_)}, {"p99_us", median(p99_)}, {"p99_to_lone", median(to_lone_)}};
  }

 private:
  std::vector<double> p50_, p99_, to_lone_;
};

// Single steps at random times, at 30% of what the bare engine does one after the other.
json measure_latency(recblr_bundle* bundle) {
  constexpr int kOpen = 2048;  // more than are ever open at once
  const OpenEngine direct = make_engine(bundle, false), batching = make_engine(bundle, true);
  std::mt19937 random(6);
  const Questions questions(bundle, std::vector<int64_t>(kOpen, 1), 1);
  std::vector<Call> calls = make_calls(bundle, kOpen, 1, true);
  size_t turn = 0;
  const auto recommend = [&] { calls[0].recommend(direct.get(), questions.next()); };
  const double rate = kLoad * 1e6 / microseconds_of(recommend, kSeconds);
  const auto answer = [](void* context, recblr_status status) {
    check(status);
    const std::unique_ptr<std::function<void()>> answered(static_cast<std::function<void()>*>(context));
    (*answered)();
  };
  std::vector<double> lone;
  Latencies submitted, of_threads, bare_threads;
  for (int round = 0; round < kRounds; ++round) {
    lone.push_back(median(open_loop(kLoneRate, 2 * kSeconds, &random, [&](const std::function<void()>& answered) {
      recommend();
      answered();
    })));
    const auto submit = [&](std::function<void()> answered) {
      Call& call = calls[turn++ % calls.size()];
      call.submit(batching.get(), questions.next(), answer, new std::function<void()>(std::move(answered)));
    };
    submitted.add(open_loop(rate, kSeconds, &random, submit), lone.back());
    for (const bool batches : {true, false}) {
      recblr_engine* engine = batches ? batching.get() : direct.get();
      const auto call = [&](int thread) { calls[static_cast<size_t>(thread)].recommend(engine, questions.next()); };
      (batches ? of_threads : bare_threads).add(open_loop_of_threads(rate, kSeconds, &random, call), lone.back());
    }
  }
  return {{"load", kLoad},
          {"per_s", rate},
          {"lone_us", median(lone)},
          {"submit", submitted.to_json()},
          {"threads", of_threads.to_json()},
          {"threads_without_batching", bare_threads.to_json()}};
}

// How often requests took memory from the heap, after as many that warmed up.
json measure_allocations(recblr_bundle* bundle) {
  constexpr int kAnswers = 1000;
  const Questions questions(bundle, {1, 50, 200}, 1);
  json counts{{"answers", kAnswers}};
  for (const bool batches : {false, true}) {
    const OpenEngine engine = make_engine(bundle, batches);
    Call call(bundle, 1, true);
    int64_t before = 0;
    for (int n = 0; n < 2 * kAnswers; ++n) {
      if (n == kAnswers) before = allocations();
      call.recommend(engine.get(), questions.next());
    }
    counts[batches ? "batching" : "direct"] = allocations() - before;
  }
  return counts;
}

void answer_bare(const std::string& path) {
  std::vector<std::pair<int64_t, std::unique_ptr<BareRow>>> rows;
  int64_t n_items = 0;
  double seconds = 0;
  while (std::cin >> n_items >> seconds) {
    auto found = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.first == n_items; });
    if (found == rows.end()) {
      rows.emplace_back(n_items, std::make_unique<BareRow>(path, n_items));
      found = rows.end() - 1;
    }
    const auto run = [&] { found->second->run(); };
    microseconds_of(run, seconds / 10);  // a process that slept has cold caches
    std::cout << microseconds_of(run, seconds) << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool only_bare = argc == 3 && argv[2] == std::string("--bare");
  if (argc != 2 && !only_bare) {
    std::cerr << "usage: core_benchmark BUNDLE [--bare]\n";
    return 2;
  }
  const std::string path = argv[1];
  if (only_bare) {
    answer_bare(path);
    return 0;
  }
  const OpenBundle bundle = open_bundle(path);
  const std::vector<int64_t> histories = history_lengths(kHistories), steps(kHistories, 1);
  json result;
  for (const int64_t n_items : {1, 50}) result["single"].push_back(measure_single(path, bundle.get(), n_items));
  result["saturated"] = {{"callers", kCallers},
                         {"cpus", usable_cpus()},
                         {"histories", measure_saturated(bundle.get(), histories, false)},
                         {"steps", measure_saturated(bundle.get(), steps, true)}};
  result["at_load"] = measure_latency(bundle.get());
  result["allocations"] = measure_allocations(bundle.get());
  std::cout << result.dump(2) << std::endl;
  return 0;
}
