#include "toy_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace recblr::tests {

void feed_toy(const int32_t* items, int64_t n_items, std::vector<float>* state) {
  for (int64_t i = 0; i < n_items; ++i) {
    for (size_t j = 0; j < state->size(); ++j) {
      (*state)[j] = 0.5F * (*state)[j] + std::sin(static_cast<float>(items[i]) + static_cast<float>(j));
    }
  }
}

std::vector<float> toy_scores(const Bundle& bundle, const float* state) {
  const auto* embedding = static_cast<const char*>(bundle.weight("embedding.weight"));
  const int64_t D = bundle.dim();
  const float* query = state + bundle.state_size() - D;
  std::vector<float> scores(static_cast<size_t>(bundle.n_items()) + 1);
  for (int64_t item = 1; item <= bundle.n_items(); ++item) {
    float& score = scores[static_cast<size_t>(item)];
    for (int64_t d = 0; d < D; ++d) {
      float weight;
      std::memcpy(&weight, embedding + sizeof(float) * static_cast<size_t>(item * D + d), sizeof weight);
      score += weight * query[d];
    }
  }
  return scores;
}

std::vector<int32_t> toy_ranking(const Bundle& bundle, const float* state, const std::vector<int32_t>& exclude) {
  const std::vector<float> scores = toy_scores(bundle, state);
  std::vector<int32_t> items;
  for (int32_t item = 1; item <= bundle.n_items(); ++item) {
    if (std::find(exclude.begin(), exclude.end(), item) == exclude.end()) items.push_back(item);
  }
  std::stable_sort(items.begin(), items.end(), [&scores](int32_t a, int32_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return items;
}

void run_toy(const Bundle& bundle, const ArrayRun& run) {
  const int64_t S = bundle.state_size();
  for (int64_t b = 0; b < run.n_rows; ++b) {
    std::vector<float> state(run.state_in + b * S, run.state_in + (b + 1) * S);
    feed_toy(run.items + run.offsets[b], run.offsets[b + 1] - run.offsets[b], &state);
    std::copy(state.begin(), state.end(), run.state_out + b * S);
    std::vector<int32_t> exclude;
    for (int64_t m = 0; m < run.n_exclude; ++m) {
      if (run.exclude[2 * m] == b) exclude.push_back(run.exclude[2 * m + 1]);
    }
    const std::vector<int32_t> items = toy_ranking(bundle, state.data(), exclude);
    const std::vector<float> scores = toy_scores(bundle, state.data());
    for (int64_t j = 0; j < run.k; ++j) {
      const bool is_there = j < static_cast<int64_t>(items.size());
      run.top_items[b * run.k + j] = is_there ? items[static_cast<size_t>(j)] : 0;
      run.top_scores[b * run.k + j] = is_there ? scores[static_cast<size_t>(items[static_cast<size_t>(j)])]
                                               : -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace recblr::tests
