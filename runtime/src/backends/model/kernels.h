// What one instruction set offers for whole models.
#pragma once

#include <cstdint>

namespace recblr {

// Matrices are in panels of `panel` outputs: [outputs / panel, inputs, panel], filled up with zeros.
struct PackedLayer {
  const float* in_x;         // [H, D]
  const float* in_z;         // [H, D]
  const float* conv_weight;  // [K, H], not in panels
  const float* conv_bias;
  const float* gates;       // [2H, H]
  const float* gates_bias;  // with zeros up to whole panels, as the next two
  const float* rate;        // softplus(decay)
  const float* out;         // [D, H]
  const float* up;          // [F, D]
  const float* up_bias;
  const float* down;  // [D, F]
  const float* down_bias;
  const float* recurrent_norm_weight;
  const float* recurrent_norm_bias;
  const float* feed_forward_norm_weight;
  const float* feed_forward_norm_bias;
};

// A model's weights as the kernels read them; V, D, H, F, K and L in this order.
struct PackedModel {
  int64_t n_items, dim, width, feed_forward, taps, n_layers;
  float norm_epsilon;
  const void* embedding;  // [V+1, D], float32 at any address
  const float* items;     // [V, D] in panels; NULL where the model does not rank
  const float* norm_weight;
  const float* norm_bias;
  const PackedLayer* layers;
};

// A row's items, to be fed to its state [S], which is read and written.
struct FedRow {
  const int32_t* items;
  int64_t count;
  float* state;
};

// For one model, any number of threads may call them at once, each with its own scratch.
struct ModelKernels {
  int64_t panel;  // outputs of a panel
  // Feeds rows' items to their states. scratch: scratch_floats of this model and as many items in all, zeros at first.
  void (*advance)(const PackedModel&, const FedRow* rows, int64_t n_rows, float* scratch);
  int64_t (*scratch_floats)(const PackedModel&, int64_t count);
  // scores: [n_rows, scores_stride], of which the first V, filled up to whole panels, are written: the dot products of
  // each query [D], `stride` after the one before, and each item, item 1 first.
  void (*score)(const PackedModel&, const float* queries, int64_t stride, int64_t n_rows, float* scores,
                int64_t scores_stride);
};

namespace baseline {
ModelKernels model_kernels();
}
namespace avx2 {
ModelKernels model_kernels();
}
namespace avx512 {
ModelKernels model_kernels();
}

}  // namespace recblr
