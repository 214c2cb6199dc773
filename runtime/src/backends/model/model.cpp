// Whole models on the CPU: weights in the order in which the kernels read them, and runs of it.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "abi/arguments.h"
#include "abi/guarded.h"
#include "backends/model/kernels.h"
#include "backends/ranking/best_scores.h"
#include "backends/ranking/key.h"
#include "backends/ranking/row_by_index.h"
#include "backends/ranking/top_items.h"
#include "cpu/crossovers.h"
#include "cpu/instruction_set.h"
#include "cpu/parallel.h"
#include "recblr/plugins.h"

namespace recblr {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

ModelKernels best_model_kernels() { return best_of<ModelKernels()>(RECBLR_PER_INSTRUCTION_SET(model_kernels))(); }

ScoreKernels best_score_kernels() { return best_of<ScoreKernels()>(RECBLR_PER_INSTRUCTION_SET(score_kernels))(); }

// NULL where the machine cannot use one.
std::unique_ptr<recblr_item_index, void (*)(recblr_item_index*)> make_index(const recblr_model_weights& w) {
  recblr_item_index* index = nullptr;
  if (recblr_item_index_create(w.embedding, w.n_items, w.dim, 1, &index) != RECBLR_OK) throw std::bad_alloc();
  return {index, recblr_item_index_destroy};
}

// Arrays that begin at cache lines, so that no vector of a panel lies across two.
class Arrays {
 public:
  // Zeros.
  float* add(int64_t count) {
    const size_t bytes = (static_cast<size_t>(std::max<int64_t>(count, 1)) * sizeof(float) + 63) / 64 * 64;
    float* values = static_cast<float*>(std::aligned_alloc(64, bytes));
    if (values == nullptr) throw std::bad_alloc();
    arrays_.emplace_back(values, std::free);
    std::memset(values, 0, bytes);
    return values;
  }

  const float* copy(const float* from, int64_t count, int64_t padded_count) {
    float* to = add(padded_count);
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
    return to;
  }

  // A matrix [outputs, inputs] in panels.
  const float* pack(const void* matrix, int64_t outputs, int64_t inputs, int64_t panel) {
    float* to = add((outputs + panel - 1) / panel * panel * inputs);
    const unsigned char* from = static_cast<const unsigned char*>(matrix);
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t i = 0; i < inputs; ++i, from += sizeof(float)) {
        std::memcpy(to + (o / panel * inputs + i) * panel + o % panel, from, sizeof(float));
      }
    }
    return to;
  }

 private:
  std::vector<std::unique_ptr<float, void (*)(void*)>> arrays_;
};

}  // namespace

}  // namespace recblr

struct recblr_model {
  recblr::ModelKernels kernels = recblr::best_model_kernels();
  recblr::ScoreKernels score_kernels = recblr::best_score_kernels();
  recblr::IndexKernels index_kernels{};
  std::unique_ptr<recblr_item_index, void (*)(recblr_item_index*)> index{nullptr, recblr_item_index_destroy};
  recblr::PackedModel packed;
  std::vector<recblr::PackedLayer> layers;
  recblr::Arrays arrays;

  explicit recblr_model(const recblr_model_weights& w) {
    const int64_t panel = kernels.panel, dim = w.dim, width = w.width, inner = w.feed_forward;
    const auto padded = [panel](int64_t n) { return (n + panel - 1) / panel * panel; };
    for (int64_t l = 0; l < w.n_layers; ++l) {
      const recblr_layer_weights& from = w.layers[l];
      recblr::PackedLayer to{};
      to.in_x = arrays.pack(from.in_proj, width, dim, panel);
      to.in_z = arrays.pack(from.in_proj + width * dim, width, dim, panel);
      // Copied as bytes: what is given may lie at any address.
      const float* taps_last = arrays.copy(from.conv_weight, width * w.taps, width * w.taps);
      const float* decay = arrays.copy(from.decay, width, width);
      float* conv_weight = arrays.add(w.taps * width);
      float* rate = arrays.add(width);
      for (int64_t c = 0; c < width; ++c) {
        for (int64_t tap = 0; tap < w.taps; ++tap) conv_weight[tap * width + c] = taps_last[c * w.taps + tap];
        rate[c] = decay[c] > 20.0f ? decay[c] : std::log1p(std::exp(decay[c]));
      }
      to.conv_weight = conv_weight;
      to.conv_bias = arrays.copy(from.conv_bias, width, width);
      to.gates = arrays.pack(from.gates, 2 * width, width, panel);
      to.gates_bias = arrays.copy(from.gates_bias, 2 * width, padded(2 * width));
      to.rate = rate;
      to.out = arrays.pack(from.out_proj, dim, width, panel);
      to.up = arrays.pack(from.up, inner, dim, panel);
      to.up_bias = arrays.copy(from.up_bias, inner, padded(inner));
      to.down = arrays.pack(from.down, dim, inner, panel);
      to.down_bias = arrays.copy(from.down_bias, dim, padded(dim));
      to.recurrent_norm_weight = arrays.copy(from.recurrent_norm_weight, dim, dim);
      to.recurrent_norm_bias = arrays.copy(from.recurrent_norm_bias, dim, dim);
      to.feed_forward_norm_weight = arrays.copy(from.feed_forward_norm_weight, dim, dim);
      to.feed_forward_norm_bias = arrays.copy(from.feed_forward_norm_bias, dim, dim);
      layers.push_back(to);
    }
    const unsigned char* embedding = reinterpret_cast<const unsigned char*>(w.embedding);
    const float* items = nullptr;
    if (w.ranks && w.n_items >= recblr::kFewestIndexed) index = recblr::make_index(w);
    if (index != nullptr) recblr::best_index_kernels(&index_kernels);
    if (w.ranks && (index == nullptr || w.n_items < recblr::kFewestRankedByIndex))
      items = arrays.pack(embedding + dim * sizeof(float), w.n_items, dim, panel);
    packed = {w.n_items,
              dim,
              width,
              inner,
              w.taps,
              w.n_layers,
              w.norm_epsilon,
              w.embedding,
              items,
              arrays.copy(w.norm_weight, dim, dim),
              arrays.copy(w.norm_bias, dim, dim),
              layers.data()};
  }

  bool ranks() const { return packed.items != nullptr || index != nullptr; }
  int64_t state_size() const { return packed.n_layers * packed.taps * packed.width + packed.dim; }
  int64_t padded_items() const { return (packed.n_items + kernels.panel - 1) / kernels.panel * kernels.panel; }
};

namespace recblr {

namespace {

// A worker's memory, of feeding or of ranking.
struct Scratch {
  std::vector<float> tokens, scores;
  std::vector<int32_t> found;
  RowScratch row;
};

// Scores that are looked at before the threshold rises: whole panels, at first few, as at first all are above it.
constexpr int64_t kFirstPiece = 64, kPiece = 1024;

// The k best of a row's scores.
void select(const recblr_model& m, const float* scores, int64_t k, Scratch* scratch, int32_t* top_items,
            float* top_scores) {
  const int64_t count = m.padded_items();
  const size_t kept = static_cast<size_t>(std::min(k, m.packed.n_items));
  std::vector<Key>& keys = scratch->row.keys;
  keys.clear();
  float threshold = low_threshold(m.score_kernels, scores, m.packed.n_items, k, &scratch->row.largest);
  const auto keep_best = [&] {
    std::nth_element(keys.begin(), keys.begin() + static_cast<ptrdiff_t>(kept) - 1, keys.end(), std::greater<Key>());
    keys.resize(kept);
    threshold = score_of(keys.back());
  };
  const int64_t first_piece = threshold > -kInfinity ? kPiece : kFirstPiece;
  for (int64_t first = 0, piece = first_piece; first < count; first += piece, piece = std::min(2 * piece, kPiece)) {
    if (std::isnan(threshold)) break;  // k NaNs: no later item ranks before them
    piece = std::min(piece, count - first);
    const int64_t n_found = m.score_kernels.find_above(scores + first, piece, threshold, scratch->found.data());
    for (int64_t at = 0; at < n_found; ++at) {
      const int64_t place = first + scratch->found[static_cast<size_t>(at)];
      if (place < m.packed.n_items) keys.push_back(key_of(scores[place], static_cast<int32_t>(place + 1)));
    }
    if (keys.size() > 2 * kept) keep_best();
  }
  write_best(&keys, k, top_items, top_scores);
}

// The first exclusion of a row, or of those behind it.
int64_t first_exclusion(const recblr_model_run& a, int64_t row) {
  int64_t at = 0, after = a.n_exclude;
  while (at < after) {
    const int64_t middle = (at + after) / 2;
    if (a.exclude[2 * middle] < row) {
      at = middle + 1;
    } else {
      after = middle;
    }
  }
  return at;
}

// By the scores of all items.
void rank_by_scores(const recblr_model& m, const recblr_model_run& a, int64_t first, int64_t n_rows, Scratch* scratch) {
  const int64_t size = m.state_size(), padded = m.padded_items();
  scratch->scores.resize(static_cast<size_t>(n_rows * padded));
  float* scores = scratch->scores.data();
  m.kernels.score(m.packed, a.state_out + first * size + size - m.packed.dim, size, n_rows, scores, padded);
  for (int64_t at = first_exclusion(a, first); at < a.n_exclude && a.exclude[2 * at] < first + n_rows; ++at) {
    const int32_t item = a.exclude[2 * at + 1];
    if (item > 0) scores[(a.exclude[2 * at] - first) * padded + item - 1] = -kInfinity;
  }
  for (int64_t row = 0; row < n_rows; ++row) {
    select(m, scores + row * padded, a.k, scratch, a.top_items + (first + row) * a.k,
           a.top_scores + (first + row) * a.k);
  }
}

void rank_rows(const recblr_model& m, const recblr_model_run& a, int64_t first, int64_t n_rows, Scratch* scratch) {
  if (m.index == nullptr || n_rows > kMostRowsByBounds) return rank_by_scores(m, a, first, n_rows, scratch);
  const RowByIndex by_index{*m.index, m.index_kernels, m.score_kernels, m.packed.embedding};
  const int64_t size = m.state_size();
  for (int64_t row = first; row < first + n_rows; ++row) {
    const int64_t at = first_exclusion(a, row);
    if (!by_index.rank(a.state_out + (row + 1) * size - m.packed.dim, a.exclude + 2 * at,
                       first_exclusion(a, row + 1) - at, a.k, &scratch->row, a.top_items + row * a.k,
                       a.top_scores + row * a.k)) {
      rank_by_scores(m, a, row, 1, scratch);
    }
  }
}

void feed(const recblr_model& m, const recblr_model_run& a) {
  const int64_t size = m.state_size(), n_items = a.offsets[a.n_rows];
  if (a.state_out != a.state_in) {
    std::memcpy(a.state_out, a.state_in, static_cast<size_t>(a.n_rows * size) * sizeof(float));
  }
  std::vector<FedRow> rows(static_cast<size_t>(a.n_rows));
  std::vector<int64_t> shares{0};  // the first row of each, and the end
  for (int64_t row = 0, items = 0; row < a.n_rows; ++row) {
    const int64_t at = a.offsets[row], count = a.offsets[row + 1] - at;
    rows[static_cast<size_t>(row)] = {a.items + at, count, a.state_out + row * size};
    items += count;
    if (items >= kItemsFedAtOnce || row + 1 == a.n_rows) {
      shares.push_back(row + 1);
      items = 0;
    }
  }
  const int64_t n_shares = static_cast<int64_t>(shares.size()) - 1;
  const int64_t threads = useful_threads(a.n_threads, n_shares, kElementsOfFedItem * n_items);
  std::vector<Scratch> scratch(static_cast<size_t>(threads));
  for (Scratch& of_worker : scratch) {
    of_worker.tokens.resize(static_cast<size_t>(m.kernels.scratch_floats(m.packed, n_items)));
  }
  in_parallel(n_shares, threads, [&](int64_t share, int64_t worker) {
    const int64_t first = shares[static_cast<size_t>(share)];
    m.kernels.advance(m.packed, rows.data() + first, shares[static_cast<size_t>(share) + 1] - first,
                      scratch[static_cast<size_t>(worker)].tokens.data());
  });
}

void rank_by_index(const recblr_model& m, const recblr_model_run& a) {
  const int64_t dim = m.packed.dim, size = m.state_size();
  std::vector<float> queries(static_cast<size_t>(a.n_rows * dim));
  for (int64_t row = 0; row < a.n_rows; ++row) {
    std::memcpy(queries.data() + row * dim, a.state_out + (row + 1) * size - dim,
                static_cast<size_t>(dim) * sizeof(float));
  }
  recblr_top_items ranking{};
  ranking.n_rows = a.n_rows;
  ranking.n_items = m.packed.n_items;
  ranking.dim = dim;
  ranking.k = a.k;
  ranking.n_exclude = a.n_exclude;
  ranking.n_threads = a.n_threads;
  ranking.queries = queries.data();
  ranking.embedding = m.packed.embedding;
  ranking.index = m.index.get();
  ranking.exclude = a.exclude;
  ranking.top_items = a.top_items;
  ranking.top_scores = a.top_scores;
  top_items(ranking);
}

void rank(const recblr_model& m, const recblr_model_run& a) {
  if (m.packed.items == nullptr) return rank_by_index(m, a);
  const int64_t most_threads = std::max<int64_t>(a.n_threads, 1), per_thread = (a.n_rows - 1) / most_threads + 1;
  const int64_t group = std::min(std::max(per_thread, kFewestRowsRankedAtOnce), kMostRowsRankedAtOnce);
  const int64_t groups = (a.n_rows + group - 1) / group;
  const int64_t threads = useful_threads(a.n_threads, groups, a.n_rows * (m.packed.n_items / kScoresOfElement));
  std::vector<Scratch> scratch(static_cast<size_t>(threads));
  for (Scratch& of_worker : scratch) {
    of_worker.found.resize(kPiece);
    of_worker.row.keys.reserve(static_cast<size_t>(2 * std::min(a.k, m.packed.n_items) + kPiece));
  }
  in_parallel(groups, threads, [&](int64_t index, int64_t worker) {
    const int64_t first = index * group;
    rank_rows(m, a, first, std::min(group, a.n_rows - first), &scratch[static_cast<size_t>(worker)]);
  });
}

}  // namespace

}  // namespace recblr

extern "C" int recblr_model_create(const recblr_model_weights* weights, recblr_model** model) {
  using namespace recblr;
  return guarded("out of memory for the copies of a model's weights", [&] {
    if (model == nullptr) refuse("model is NULL");
    *model = nullptr;
    *model = new recblr_model(checked(weights));
    return RECBLR_OK;
  });
}

extern "C" void recblr_model_destroy(recblr_model* model) { delete model; }

extern "C" int recblr_model_run_cpu(const recblr_model* model, const recblr_model_run* arguments) {
  using namespace recblr;
  return guarded("out of memory for a model's run: give fewer rows or items at once", [&] {
    if (model == nullptr) refuse("model is NULL");
    const recblr_model_run& a = checked(arguments, model->packed.n_items, model->ranks());
    if (a.n_rows == 0) return RECBLR_OK;
    feed(*model, a);
    if (a.k > 0) rank(*model, a);
    return RECBLR_OK;
  });
}
