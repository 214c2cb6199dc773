#include "backends/callback.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace recblr {
namespace {

[[noreturn]] void refuse_answer(const std::string& what) {
  refuse(Code::kBackend, "the backend " + what + ": its graph is another");
}

// Refuses what cannot be a row's ranking. NaN is left to who knows what the row's state came from.
void check_ranking(const Row& row, const int32_t* items, const float* scores, int64_t n_items) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < row.k; ++j) {
    if (j > 0 && scores[j] > scores[j - 1]) {
      refuse_answer("ranked a score of " + written(scores[j]) + " after " + written(scores[j - 1]));
    }
    if (scores[j] == kNone) continue;  // there are no more items
    if (items[j] < 1 || items[j] > n_items) {
      refuse_answer("gave item " + std::to_string(items[j]) + " of " + std::to_string(n_items));
    }
    if (j > 0 && items[j] == items[j - 1]) {
      refuse_answer("ranked item " + std::to_string(items[j]) + " twice");
    }
    if (std::binary_search(row.exclude.items, row.exclude.items + row.exclude.count, items[j])) {
      refuse_answer("ranked item " + std::to_string(items[j]) + ", which was excluded");
    }
  }
}

bool is_nan(float number) { return std::isnan(number); }

// Refuses, for a row that began with the bundle's own state, what are no numbers: there is nobody else to blame.
void check_numbers(const Row& row, const std::vector<float>& initial_state, const float* state, const float* scores) {
  if (!std::equal(initial_state.begin(), initial_state.end(), row.state_in)) return;
  if (std::any_of(scores, scores + row.k, is_nan)) refuse_answer("gave a score of nan");
  const auto is_number = [](float value) { return std::isfinite(value); };
  const float* end = state + initial_state.size();
  const float* found = std::find_if_not(state, end, is_number);
  if (found != end) refuse_answer("gave a state that holds " + written(*found));
}

}  // namespace

struct CallbackBackend::Arrays {
  std::vector<int32_t> items, offsets, exclude, top_items;
  std::vector<float> state_in, state_out, top_scores;
  std::vector<Row> for_catalogue;
};

class CallbackBackend::ArraysLease {
 public:
  explicit ArraysLease(const CallbackBackend& backend) : backend_(backend) {
    {
      const std::lock_guard<std::mutex> lock(backend_.pool_mutex_);
      if (!backend_.pool_.empty()) {
        arrays_ = std::move(backend_.pool_.back());
        backend_.pool_.pop_back();
      }
    }
    if (arrays_ == nullptr) arrays_ = std::make_unique<Arrays>();
  }
  ~ArraysLease() {
    const std::lock_guard<std::mutex> lock(backend_.pool_mutex_);
    try {
      backend_.pool_.push_back(std::move(arrays_));
    } catch (...) {  // no memory for a longer pool: the arrays go
    }
  }
  ArraysLease(const ArraysLease&) = delete;
  ArraysLease& operator=(const ArraysLease&) = delete;
  Arrays* operator->() const { return arrays_.get(); }

 private:
  const CallbackBackend& backend_;
  std::unique_ptr<Arrays> arrays_;
};

CallbackBackend::CallbackBackend(std::shared_ptr<const Bundle> bundle, Callback callback, int ranking_threads)
    : bundle_(std::move(bundle)), callback_(std::move(callback)), ranking_threads_(ranking_threads) {}

CallbackBackend::~CallbackBackend() = default;

bool CallbackBackend::is_ranked_by_callback(const Row& row) const {
  return row.k > 0 && row.k <= callback_.max_k && !row.has_only;
}

void CallbackBackend::run(const Row* rows, int64_t n_rows) const {
  const auto size = static_cast<size_t>(bundle_->state_size());
  ArraysLease arrays(*this);
  arrays->items.clear();
  arrays->exclude.clear();
  arrays->state_in.clear();
  arrays->offsets.assign(1, 0);
  arrays->for_catalogue.clear();
  int64_t k = 0;
  for (int64_t b = 0; b < n_rows; ++b) {
    const Row& row = rows[b];
    arrays->items.insert(arrays->items.end(), row.items, row.items + row.n_items);
    arrays->offsets.push_back(static_cast<int32_t>(arrays->items.size()));
    arrays->state_in.insert(arrays->state_in.end(), row.state_in, row.state_in + size);
    if (is_ranked_by_callback(row)) {
      k = std::max(k, row.k);
      for (int64_t j = 0; j < row.exclude.count; ++j) {
        arrays->exclude.push_back(static_cast<int32_t>(b));
        arrays->exclude.push_back(row.exclude.items[j]);
      }
    } else if (row.k > 0) {
      arrays->for_catalogue.push_back(row);
    }
  }
  arrays->state_out.resize(arrays->state_in.size());
  arrays->top_items.resize(static_cast<size_t>(n_rows * k));
  arrays->top_scores.resize(static_cast<size_t>(n_rows * k));
  const ArrayRun run{n_rows,
                     static_cast<int64_t>(arrays->items.size()),
                     static_cast<int64_t>(arrays->exclude.size()) / 2,
                     k,
                     arrays->items.data(),
                     arrays->offsets.data(),
                     arrays->state_in.data(),
                     arrays->exclude.data(),
                     arrays->state_out.data(),
                     arrays->top_items.data(),
                     arrays->top_scores.data()};
  try {
    callback_.run(run);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    refuse(Code::kBackend, std::string("what runs the model failed: ") + error.what());
  }
  for (int64_t b = 0; b < n_rows; ++b) {
    Row row = rows[b];
    if (!is_ranked_by_callback(row)) row.k = 0;
    const float* scores = arrays->top_scores.data() + b * k;
    check_ranking(row, arrays->top_items.data() + b * k, scores, bundle_->n_items());
    check_numbers(row, bundle_->initial_state(), arrays->state_out.data() + static_cast<size_t>(b) * size, scores);
  }
  for (int64_t b = 0; b < n_rows; ++b) {
    const Row& row = rows[b];
    std::copy_n(arrays->state_out.data() + static_cast<size_t>(b) * size, size, row.state_out);
    if (!is_ranked_by_callback(row)) continue;
    std::copy_n(arrays->top_items.data() + b * k, row.k, row.top_items);
    std::copy_n(arrays->top_scores.data() + b * k, row.k, row.top_scores);
  }
  if (!arrays->for_catalogue.empty()) {
    catalogue().rank(arrays->for_catalogue.data(), static_cast<int64_t>(arrays->for_catalogue.size()));
  }
}

const Catalogue& CallbackBackend::catalogue() const {
  const std::lock_guard<std::mutex> lock(catalogue_mutex_);
  if (catalogue_ == nullptr) catalogue_ = std::make_unique<const Catalogue>(*bundle_, ranking_threads_);
  return *catalogue_;
}

}  // namespace recblr
