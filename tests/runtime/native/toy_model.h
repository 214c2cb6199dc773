// A model simple enough to compute again in a test, as a backend's callback.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/callback.h"
#include "bundle/bundle.h"

namespace recblr::tests {

// One item more: s[j] = 0.5 s[j] + sin(item + j), for all S numbers of a state.
void feed_toy(const int32_t* items, int64_t n_items, std::vector<float>* state);

// The scores of all items for a state's query vector: [V + 1], that of no item first.
std::vector<float> toy_scores(const Bundle& bundle, const float* state);

// Items 1 to V, the best first, without those of `exclude`.
std::vector<int32_t> toy_ranking(const Bundle& bundle, const float* state, const std::vector<int32_t>& exclude);

// What a callback of this model does.
void run_toy(const Bundle& bundle, const ArrayRun& run);

}  // namespace recblr::tests
