#include "backends/model/native_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/crossovers.h"
#include "cpu/instruction_set.h"

namespace recblr {

namespace {

// Weight `index`, which may lie at any address.
float number(const void* from, int64_t index) {
  if (from == nullptr) return 0.0f;
  float value;
  std::memcpy(&value, static_cast<const unsigned char*>(from) + index * static_cast<int64_t>(sizeof value),
              sizeof value);
  return value;
}

}  // namespace

int64_t FeedScratch::bytes() const {
  int64_t total = static_cast<int64_t>(rows.capacity() * sizeof(FedRow) + shares.capacity() * sizeof(int64_t));
  for (const Buffer<float>& worker : workers) total += worker.bytes();
  return total;
}

NativeModel::NativeModel(const ModelWeights& w, bool copies_items)
    : kernels_(best_of<ModelKernels()>(RECBLR_PER_INSTRUCTION_SET(model_kernels))()) {
  packed_ = {w.n_items,      w.dim,       w.width, w.feed_forward, w.taps,  static_cast<int64_t>(w.layers.size()),
             w.norm_epsilon, w.embedding, nullptr, nullptr,        nullptr, nullptr};
  for (const LayerWeights& layer : w.layers) layers_.push_back(packed_layer(layer));
  packed_.layers = layers_.data();
  packed_.norm_weight = copy(w.norm_weight, w.dim);
  packed_.norm_bias = copy(w.norm_bias, w.dim);
  if (copies_items) packed_.items = pack(w.embedding, 1, w.n_items, w.dim);
}

PackedLayer NativeModel::packed_layer(const LayerWeights& from) {
  const int64_t dim = packed_.dim, width = packed_.width, inner = packed_.feed_forward, taps = packed_.taps;
  float* const conv_weight = add(taps * width);
  float* const rate = add(width);
  for (int64_t c = 0; c < width; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap) conv_weight[tap * width + c] = number(from.conv_weight, c * taps + tap);
    const float decay = number(from.decay, c);
    rate[c] = decay > 20.0f ? decay : std::log1p(std::exp(decay));
  }
  PackedLayer to{};
  to.in_x = pack(from.in_proj, 0, width, dim);
  to.in_z = pack(from.in_proj, width, width, dim);
  to.conv_weight = conv_weight;
  to.conv_bias = copy(from.conv_bias, width);
  to.gates = pack(from.gates, 0, 2 * width, width);
  to.gates_bias = copy(from.gates_bias, 2 * width, padded(2 * width));
  to.rate = rate;
  to.out = pack(from.out_proj, 0, dim, width);
  to.up = pack(from.up, 0, inner, dim);
  to.up_bias = copy(from.up_bias, inner, padded(inner));
  to.down = pack(from.down, 0, dim, inner);
  to.down_bias = copy(from.down_bias, dim, padded(dim));
  to.recurrent_norm_weight = copy(from.recurrent_norm_weight, dim);
  to.recurrent_norm_bias = copy(from.recurrent_norm_bias, dim);
  to.feed_forward_norm_weight = copy(from.feed_forward_norm_weight, dim);
  to.feed_forward_norm_bias = copy(from.feed_forward_norm_bias, dim);
  return to;
}

// Zeros.
float* NativeModel::add(int64_t count) {
  arrays_.emplace_back();
  return arrays_.back().get_zeroed(std::max<int64_t>(count, 1));
}

const float* NativeModel::copy(const void* from, int64_t count, int64_t padded_count) {
  float* const to = add(padded_count);
  if (from != nullptr) std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
  return to;
}

// Some outputs of a matrix [.., inputs] in panels.
const float* NativeModel::pack(const void* matrix, int64_t first_output, int64_t outputs, int64_t inputs) {
  const int64_t panel = kernels_.panel;
  float* const to = add(padded(outputs) * inputs);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i) {
      to[(o / panel * inputs + i) * panel + o % panel] = number(matrix, (first_output + o) * inputs + i);
    }
  }
  return to;
}

void NativeModel::feed(const Row* rows, int64_t n_rows, int threads, const ThreadPool& pool,
                       FeedScratch* scratch) const {
  scratch->rows.clear();
  scratch->shares.assign(1, 0);
  int64_t n_items = 0, of_share = 0;
  for (int64_t row = 0; row < n_rows; ++row) {
    const Row& from = rows[row];
    std::memcpy(from.state_out, from.state_in, static_cast<size_t>(state_size()) * sizeof(float));
    scratch->rows.push_back({from.items, from.n_items, from.state_out});
    n_items += from.n_items;
    of_share += from.n_items;
    if (of_share >= kItemsFedAtOnce || row + 1 == n_rows) {
      scratch->shares.push_back(row + 1);
      of_share = 0;
    }
  }
  const int64_t n_shares = static_cast<int64_t>(scratch->shares.size()) - 1;
  const int64_t n_workers = useful_threads(threads, n_shares, kElementsOfFedItem * n_items);
  if (static_cast<int64_t>(scratch->workers.size()) < n_workers) {
    scratch->workers.resize(static_cast<size_t>(n_workers));
  }
  for (int64_t worker = 0; worker < n_workers; ++worker) {
    scratch->workers[static_cast<size_t>(worker)].get_zeroed(kernels_.scratch_floats(packed_, n_items));
  }
  const auto advance = [&](int64_t share, int64_t worker) {
    const int64_t first = scratch->shares[static_cast<size_t>(share)];
    kernels_.advance(packed_, scratch->rows.data() + first, scratch->shares[static_cast<size_t>(share) + 1] - first,
                     scratch->workers[static_cast<size_t>(worker)].data());
  };
  in_parallel(n_shares, n_workers, advance, pool);
}

}  // namespace recblr
