// A model of random weights, and what it computes by plain loops in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <vector>

#include "backends/model/model_weights.h"
#include "backends/rankings.h"

namespace recblr::testing {

class RandomModel {
 public:
  // Weights are arrays of exactly their size.
  RandomModel(Generator& generator, int64_t n_items, int64_t dim, int64_t width, int64_t feed_forward, int64_t taps,
              int64_t n_layers)
      : weights{n_items, dim, width, feed_forward, taps, 1e-12f, nullptr, nullptr, nullptr, {}} {
    const auto add = [&](int64_t count) { return arrays_.emplace_back(normal(generator, count, 0.3f)).data(); };
    const int64_t d = dim, h = width, f = feed_forward;
    weights.embedding = add((n_items + 1) * d);
    weights.norm_weight = add(d);
    weights.norm_bias = add(d);
    for (int64_t layer = 0; layer < n_layers; ++layer) {
      weights.layers.push_back({add(2 * h * d), add(h * taps), add(h), add(2 * h * h), add(2 * h), add(h), add(d * h),
                                add(d), add(d), add(f * d), add(f), add(d * f), add(d), add(d), add(d)});
    }
  }

  int64_t state_size() const { return weights.state_size(); }

  // Feeds an item to a state.
  void feed(int32_t item, std::vector<double>* state) const {
    const int64_t dim = weights.dim, width = weights.width, taps = weights.taps;
    std::vector<double> x(static_cast<size_t>(dim));
    for (int64_t d = 0; d < dim; ++d) x[d] = at(weights.embedding, item * dim + d);
    x = norm(x, weights.norm_weight, weights.norm_bias);
    double* tail = state->data();
    for (const LayerWeights& w : weights.layers) {
      double* h = tail + (taps - 1) * width;
      const std::vector<double> xz = product(w.in_proj, nullptr, x, 2 * width);
      std::vector<double> u(static_cast<size_t>(width)), y(u.size());
      for (int64_t c = 0; c < width; ++c) {
        double sum = at(w.conv_bias, c) + at(w.conv_weight, c * taps + taps - 1) * xz[c];
        for (int64_t tap = 0; tap + 1 < taps; ++tap) sum += at(w.conv_weight, c * taps + tap) * tail[tap * width + c];
        for (int64_t tap = 0; tap + 2 < taps; ++tap) tail[tap * width + c] = tail[(tap + 1) * width + c];
        if (taps > 1) tail[(taps - 2) * width + c] = xz[c];
        u[c] = silu(sum);
      }
      const std::vector<double> gates = product(w.gates, w.gates_bias, u, 2 * width);
      for (int64_t c = 0; c < width; ++c) {
        const double log_alpha = -std::log1p(std::exp(at(w.decay, c))) * sigmoid(gates[c]);
        const double beta = std::sqrt(-std::expm1(2 * log_alpha) + 1e-8) * sigmoid(gates[width + c]);
        h[c] = std::exp(log_alpha) * h[c] + beta * u[c];
        y[c] = silu(xz[width + c]) * h[c];
      }
      x = norm(sum_of(product(w.out_proj, nullptr, y, dim), x), w.recurrent_norm_weight, w.recurrent_norm_bias);
      std::vector<double> up = product(w.up, w.up_bias, x, weights.feed_forward);
      for (double& value : up) value = silu(value);
      x = norm(sum_of(product(w.down, w.down_bias, up, dim), x), w.feed_forward_norm_weight, w.feed_forward_norm_bias);
      tail = h + width;
    }
    std::copy(x.begin(), x.end(), tail);
  }

  double score(const float* query, int32_t item) const {
    double sum = 0.0;
    for (int64_t d = 0; d < weights.dim; ++d) sum += query[d] * at(weights.embedding, item * weights.dim + d);
    return sum;
  }

  std::vector<float> embedding() const { return arrays_.front(); }
  // The arrays, in the order in which the constructor adds them.
  std::list<std::vector<float>>& arrays() { return arrays_; }

  ModelWeights weights;

 private:
  static double at(const void* values, int64_t index) {
    return values == nullptr ? 0.0 : static_cast<const float*>(values)[index];
  }
  static double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
  static double silu(double x) { return x * sigmoid(x); }

  static std::vector<double> sum_of(std::vector<double> a, const std::vector<double>& b) {
    for (size_t c = 0; c < a.size(); ++c) a[c] += b[c];
    return a;
  }

  static std::vector<double> product(const void* matrix, const void* bias, const std::vector<double>& x, int64_t out) {
    std::vector<double> y(static_cast<size_t>(out));
    const int64_t n = static_cast<int64_t>(x.size());
    for (int64_t o = 0; o < out; ++o) {
      y[o] = at(bias, o);
      for (int64_t i = 0; i < n; ++i) y[o] += at(matrix, o * n + i) * x[i];
    }
    return y;
  }

  static std::vector<double> norm(std::vector<double> x, const void* weight, const void* bias) {
    double mean = 0.0, square = 0.0;
    for (const double value : x) mean += value / static_cast<double>(x.size());
    for (const double value : x) square += (value - mean) * (value - mean) / static_cast<double>(x.size());
    for (size_t c = 0; c < x.size(); ++c) {
      const int64_t index = static_cast<int64_t>(c);
      x[c] = (x[c] - mean) / std::sqrt(square + 1e-12) * at(weight, index) + at(bias, index);
    }
    return x;
  }

  std::list<std::vector<float>> arrays_;
};

// Rows of a run and all that they point to.
struct Batch {
  struct RowData {
    std::vector<int32_t> items;
    std::vector<float> state_in;
    int64_t k = 0;
    std::vector<int32_t> exclude{};
    std::optional<std::vector<int32_t>> only{};
  };

  std::vector<RowData> data;
  std::vector<std::vector<float>> states;  // that a run wrote
  std::vector<Ranked> ranked;

  std::vector<Row> rows() {
    states.resize(data.size());
    ranked.resize(data.size());
    std::vector<Row> rows(data.size());
    for (size_t at = 0; at < data.size(); ++at) {
      const RowData& from = data[at];
      states[at].assign(from.state_in.size(), 7.0f);
      ranked[at].items.assign(static_cast<size_t>(from.k), -1);
      ranked[at].scores.assign(static_cast<size_t>(from.k), 7.0f);
      rows[at] = {from.items.data(),       static_cast<int64_t>(from.items.size()),
                  from.state_in.data(),    states[at].data(),
                  view(from.exclude),      from.only.has_value() ? view(*from.only) : ItemList{},
                  from.only.has_value(),   from.k,
                  ranked[at].items.data(), ranked[at].scores.data()};
    }
    return rows;
  }

  // Runs all rows at once.
  const Batch& run(const Backend& backend) {
    const std::vector<Row> all = rows();
    backend.run(all.data(), static_cast<int64_t>(all.size()));
    return *this;
  }

  Batch part(size_t first, size_t end) const {
    Batch part;
    part.data.assign(data.begin() + static_cast<std::ptrdiff_t>(first),
                     data.begin() + static_cast<std::ptrdiff_t>(end));
    return part;
  }
};

// Rows of a few items each, now and then of many, with states of anything; k is left at 0.
inline Batch random_batch(Generator& generator, const RandomModel& model, int64_t n_rows) {
  Batch batch;
  for (int64_t row = 0; row < n_rows; ++row) {
    Batch::RowData data;
    // Beyond a block of the kernels, too.
    const int64_t length = draw(generator, 0, 4) ? draw(generator, 0, 5) : draw(generator, 10, 60);
    for (int64_t t = 0; t < length; ++t) {
      data.items.push_back(static_cast<int32_t>(draw(generator, 1, model.weights.n_items)));
    }
    data.state_in = normal(generator, model.state_size(), 0.3f);
    batch.data.push_back(std::move(data));
  }
  return batch;
}

}  // namespace recblr::testing
