// The weights of a whole model, where they are: in a bundle, or in a test's arrays.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bundle/manifest.h"

namespace recblr {

// float32 at any address, matrices as [out, in]; NULL for zeros. F is the feed-forward's inner width.
struct LayerWeights {
  const void* in_proj;      // [2H, D]: first what enters the convolution, then the output gate
  const void* conv_weight;  // [H, K]
  const void* conv_bias;    // [H]
  const void* gates;        // [2H, H]: first the recurrence gate, then the input gate
  const void* gates_bias;   // [2H]
  const void* decay;        // [H]
  const void* out_proj;     // [D, H]
  const void* recurrent_norm_weight;
  const void* recurrent_norm_bias;  // [D]
  const void* up;                   // [F, D]
  const void* up_bias;              // [F]
  const void* down;                 // [D, F]
  const void* down_bias;            // [D]
  const void* feed_forward_norm_weight;
  const void* feed_forward_norm_bias;  // [D]
};

// A state is, layer by layer, the K-1 last inputs of the convolution [K-1, H], oldest first, and h [H]; then the query
// vector [D]: S = L K H + D.
struct ModelWeights {
  int64_t n_items;        // V
  int64_t dim;            // D
  int64_t width;          // H
  int64_t feed_forward;   // F
  int64_t taps;           // K
  float norm_epsilon;     // of all layer norms
  const void* embedding;  // [V+1, D]; row 0 is no item
  const void* norm_weight;
  const void* norm_bias;             // [D], of the norm that follows the embedding
  std::vector<LayerWeights> layers;  // [L]

  int64_t state_size() const { return static_cast<int64_t>(layers.size()) * taps * width + dim; }
};

// Where the numbers of a weight are, by its name in PyTorch: Bundle::weight.
using WeightAddress = std::function<const void*(const std::string& name)>;

// The weights that a manifest lists; a bias that it lacks is zero. Throws Error(kBundle) where another one is missing,
// a shape does not fit the others, or the sizes are not those of the manifest.
ModelWeights model_weights(const Manifest& manifest, const WeightAddress& address);

// The embedding that a manifest lists, [V+1, D]; NULL for zeros. Throws Error(kBundle) where it is missing or of
// another shape.
const void* item_embedding(const Manifest& manifest, const WeightAddress& address);

}  // namespace recblr
