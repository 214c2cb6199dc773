// Requests through recblr.h, each with all the memory that it needs.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "recblr/recblr.h"

namespace recblr::benchmarks {

constexpr int64_t kResults = 10;

// Ends the program where a call failed.
inline void check(recblr_status status) {
  if (status == RECBLR_OK) return;
  std::fprintf(stderr, "status %d: %s\n", status, recblr_last_error());
  std::exit(1);
}

template <auto kFree>
struct Freed {
  template <typename Handle>
  void operator()(Handle* handle) const {
    kFree(handle);
  }
};
using OpenBundle = std::unique_ptr<recblr_bundle, Freed<recblr_bundle_free>>;
using OpenEngine = std::unique_ptr<recblr_engine, Freed<recblr_engine_free>>;
using Result = std::unique_ptr<recblr_result, Freed<recblr_result_free>>;

inline OpenBundle open_bundle(const std::string& path) {
  recblr_bundle* bundle = nullptr;
  check(recblr_bundle_open(path.c_str(), &bundle));
  return OpenBundle(bundle);
}

// An engine of one thread a run, that merges requests or runs each in its caller's thread.
inline OpenEngine make_engine(recblr_bundle* bundle, bool batches) {
  recblr_batching batching{};
  batching.struct_size = sizeof batching;
  recblr_engine_options options{};
  options.struct_size = sizeof options;
  options.threads = 1;
  if (batches) options.batching = &batching;
  recblr_engine* engine = nullptr;
  check(recblr_engine_create(bundle, &options, &engine));
  return OpenEngine(engine);
}

// What a request asks for: rows of these lengths, of random items.
class Rows {
 public:
  Rows(const recblr_bundle* bundle, const std::vector<int64_t>& lengths, std::mt19937* random) : offsets_(1) {
    std::uniform_int_distribution<int32_t> item(1, static_cast<int32_t>(recblr_bundle_n_items(bundle)));
    for (const int64_t length : lengths) offsets_.push_back(offsets_.back() + length);
    ids_.resize(static_cast<size_t>(offsets_.back()));
    for (int64_t& id : ids_) check(recblr_bundle_item(bundle, item(*random), &id, nullptr, nullptr, nullptr));
  }
  recblr_ids ids() const {
    recblr_ids ids{};
    ids.type = RECBLR_INTEGER_IDS;
    ids.n_rows = static_cast<int64_t>(offsets_.size()) - 1;
    ids.offsets = offsets_.data();
    ids.integers = ids_.data();
    return ids;
  }

 private:
  std::vector<int64_t> offsets_, ids_;
};

// What requests ask for, of so many rows each; together they have all of the lengths. Threads may take the next one.
class Questions {
 public:
  Questions(const recblr_bundle* bundle, const std::vector<int64_t>& lengths, int64_t rows) {
    std::mt19937 random(2);
    for (auto first = lengths.begin(); lengths.end() - first >= rows; first += rows) {
      questions_.emplace_back(bundle, std::vector<int64_t>(first, first + rows), &random);
    }
  }
  const Rows& next() const { return questions_[turn_++ % questions_.size()]; }

 private:
  std::vector<Rows> questions_;
  mutable std::atomic<size_t> turn_{0};
};

// The memory of one request at a time, of up to so many rows.
class Call {
 public:
  // With states the rows are what is new since; otherwise they are whole histories, whose states nobody wants.
  Call(const recblr_bundle* bundle, int64_t rows, bool with_states) {
    request_.struct_size = sizeof request_;
    request_.k = kResults;
    if (with_states) {
      const float* initial = recblr_bundle_initial_state(bundle);
      const int64_t size = recblr_bundle_state_size(bundle);
      for (int64_t b = 0; b < rows; ++b) states_.insert(states_.end(), initial, initial + size);
      new_states_.resize(states_.size());
      request_.states = states_.data();
      request_.new_states = new_states_.data();
      request_.are_new_items = 1;
    }
    recblr_result* result = nullptr;
    check(recblr_result_create(&result));
    result_.reset(result);
  }

  void recommend(recblr_engine* engine, const Rows& rows) {
    request_.items = rows.ids();
    check(recblr_recommend(engine, &request_, result_.get()));
  }
  void submit(recblr_engine* engine, const Rows& rows, recblr_done done, void* context) {
    request_.items = rows.ids();
    check(recblr_submit(engine, &request_, result_.get(), done, context, nullptr));
  }

 private:
  std::vector<float> states_, new_states_;
  recblr_request request_{};
  Result result_;
};

// So many calls, for threads of one each.
inline std::vector<Call> make_calls(const recblr_bundle* bundle, int n, int64_t rows, bool with_states) {
  std::vector<Call> calls;
  for (int i = 0; i < n; ++i) calls.emplace_back(bundle, rows, with_states);
  return calls;
}

}  // namespace recblr::benchmarks
