#include "backends/native.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string>
#include <thread>

#include "backends/random_model.h"
#include "base/error.h"

namespace recblr::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void expect_same_states(const std::vector<std::vector<float>>& states, const std::vector<std::vector<float>>& others) {
  ASSERT_EQ(states.size(), others.size());
  for (size_t row = 0; row < states.size(); ++row) {
    ASSERT_EQ(states[row].size(), others[row].size());
    EXPECT_EQ(std::memcmp(states[row].data(), others[row].data(), states[row].size() * sizeof(float)), 0) << row;
  }
}

TEST(NativeBackend, ComputesWhatTheModelComputes) {
  Generator generator(3);
  for (int round = 0; round < 40; ++round) {
    // Few items, so many that a threshold is sought, that few rows are ranked by an index, that all are.
    const int64_t sizes[] = {draw(generator, 1, 200), draw(generator, 1024, 1500), draw(generator, 2048, 2500), 8192};
    const int64_t dim = draw(generator, 1, 70), width = draw(generator, 1, 70), inner = draw(generator, 1, 150);
    const RandomModel model(generator, sizes[round % 4], dim, width, inner, draw(generator, 1, 5),
                            draw(generator, 1, 3));
    const int64_t n_items = model.weights.n_items;
    Batch batch = random_batch(generator, model, draw(generator, 1, 12));
    for (Batch::RowData& row : batch.data) {
      row.k = draw(generator, 0, 3) ? draw(generator, 0, std::min<int64_t>(30, n_items)) : n_items;
      row.exclude = some_items(generator, n_items, draw(generator, 0, 5));
      if (draw(generator, 0, 2) == 0) row.only = some_items(generator, n_items, draw(generator, 0, n_items));
    }
    batch.run(NativeBackend(model.weights, 1 + round % 3));
    for (size_t at = 0; at < batch.data.size(); ++at) {
      const Batch::RowData& row = batch.data[at];
      std::vector<double> expected(row.state_in.begin(), row.state_in.end());
      for (const int32_t item : row.items) model.feed(item, &expected);
      const std::vector<float>& state = batch.states[at];
      for (size_t s = 0; s < expected.size(); ++s) {
        ASSERT_NEAR(state[s], expected[s], 1e-4 * (1 + std::fabs(expected[s]))) << "number " << s << " of row " << at;
      }
      const Ranked& ranked = batch.ranked[at];
      const std::vector<int32_t> allowed = row.only.has_value() ? *row.only : all_items(n_items);
      std::vector<int32_t> left;
      std::set_difference(allowed.begin(), allowed.end(), row.exclude.begin(), row.exclude.end(),
                          std::back_inserter(left));
      std::vector<double> scores;
      for (const int32_t item : left) scores.push_back(model.score(state.data() + state.size() - dim, item));
      std::sort(scores.begin(), scores.end(), std::greater<double>());
      std::set<int32_t> seen;
      for (size_t rank = 0; rank < static_cast<size_t>(row.k); ++rank) {
        if (rank >= left.size()) {
          ASSERT_EQ(ranked.items[rank], 0);
          ASSERT_EQ(ranked.scores[rank], -kInfinity);
          continue;
        }
        ASSERT_TRUE(std::binary_search(left.begin(), left.end(), ranked.items[rank]));
        ASSERT_TRUE(seen.insert(ranked.items[rank]).second);
        ASSERT_NEAR(ranked.scores[rank], scores[rank], 1e-4 * (1 + std::fabs(scores[rank])));
        ASSERT_TRUE(rank == 0 || ranked.scores[rank - 1] >= ranked.scores[rank]);
      }
    }
  }
}

TEST(NativeBackend, GivesARowTheSameBitsWhateverElseRuns) {
  Generator generator(4);
  for (const int64_t n_items : {500, 3000, 9000}) {
    const RandomModel model(generator, n_items, 24, 40, 50, 4, 2);
    Batch batch = random_batch(generator, model, 70);
    const std::vector<int32_t> short_list = some_items(generator, n_items, 30);
    const std::vector<int32_t> long_list = some_items(generator, n_items, n_items);
    for (size_t row = 0; row < batch.data.size(); ++row) {
      batch.data[row].k = row % 5 == 0 ? 0 : row % 7 == 0 ? n_items : static_cast<int64_t>(row);
      batch.data[row].exclude = some_items(generator, n_items, static_cast<int64_t>(row));
      if (row % 4 == 1) batch.data[row].only = row % 8 == 1 ? short_list : long_list;
    }
    batch.run(NativeBackend(model.weights, 1));
    for (int threads = 2; threads <= 4; ++threads) {
      Batch again = batch.part(0, batch.data.size());
      again.run(NativeBackend(model.weights, threads));
      expect_same_states(again.states, batch.states);
      EXPECT_EQ(again.ranked, batch.ranked);
    }
    const NativeBackend backend(model.weights, 2);
    for (size_t first = 0; first < batch.data.size(); first += 10) {
      const size_t end = first + 1 + first % 4;
      Batch part = batch.part(first, end);
      part.run(backend);
      expect_same_states(part.states, {batch.states.begin() + first, batch.states.begin() + end});
      EXPECT_EQ(part.ranked, std::vector<Ranked>(batch.ranked.begin() + first, batch.ranked.begin() + end));
    }
  }
}

TEST(NativeBackend, ResumesAStateBitForBit) {
  Generator generator(5);
  const RandomModel model(generator, 300, 30, 34, 45, 4, 2);
  const NativeBackend backend(model.weights, 2);
  Batch whole = random_batch(generator, model, 1);
  for (int t = 0; t < 150; ++t) whole.data[0].items.push_back(static_cast<int32_t>(draw(generator, 1, 300)));
  whole.run(backend);
  Batch pieces = whole.part(0, 1);
  const std::vector<int32_t> items = whole.data[0].items;
  for (size_t at = 0; at < items.size();) {
    const size_t end = std::min(items.size(), at + static_cast<size_t>(draw(generator, 0, 40)));
    pieces.data[0].items.assign(items.begin() + static_cast<std::ptrdiff_t>(at),
                                items.begin() + static_cast<std::ptrdiff_t>(end));
    pieces.run(backend);
    pieces.data[0].state_in = pieces.states[0];
    at = end;
  }
  expect_same_states(pieces.states, whole.states);
}

TEST(NativeBackend, ServesThreadsAtOnce) {
  Generator generator(6);
  const RandomModel model(generator, 2500, 16, 20, 30, 3, 1);
  const NativeBackend backend(model.weights, 3);
  Batch batch = random_batch(generator, model, 30);
  for (Batch::RowData& row : batch.data) row.k = 10;
  batch.data[3].only = some_items(generator, 2500, 100);
  batch.run(backend);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        Batch again = batch.part(0, batch.data.size());
        again.run(backend);
        EXPECT_EQ(again.ranked, batch.ranked);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(NativeBackend, RanksTiesByItemAndNanFirst) {
  Generator generator(7);
  for (const int64_t n_items : {300, 3000, 9000}) {
    RandomModel model(generator, n_items, 8, 8, 8, 4, 1);
    std::vector<float>& embedding = model.arrays().front();
    std::fill(embedding.begin(), embedding.end(), 1.0f);
    std::fill_n(embedding.begin() + 200 * 8, 8, std::nanf(""));
    Batch batch;
    batch.data.resize(1);
    batch.data[0].state_in.assign(static_cast<size_t>(model.state_size()), 1.0f);
    batch.data[0].k = 4;
    batch.run(NativeBackend(model.weights, 1));
    expect_same(batch.ranked[0], {{200, 1, 2, 3}, {std::nanf(""), 8, 8, 8}});
  }
}

enum class Kind { kPlain, kTies, kZeros, kSubnormal, kLarge, kInfinite, kNotNumbers, kExcluded };

// A threshold is sought for few results only; with all of them there is none.
class FewResults : public ::testing::TestWithParam<std::tuple<Kind, int64_t>> {};

TEST_P(FewResults, AreTheFirstOfAll) {
  const auto [kind, n_items] = GetParam();
  Generator generator(static_cast<unsigned>(n_items));
  const int64_t dim = 8;
  RandomModel model(generator, n_items, dim, 8, 8, 4, 1);
  std::vector<float>& embedding = model.arrays().front();
  embedding = normal(generator, (n_items + 1) * dim);
  model.weights.embedding = embedding.data();
  const auto fill = [&](int64_t count, float first, float others) {
    for (int64_t at = 0; at < count; ++at) {
      float* vector = embedding.data() + draw(generator, 1, n_items) * dim;
      std::fill_n(vector, dim, others);
      vector[0] = first;
    }
  };
  std::vector<int32_t> exclude;
  switch (kind) {
    case Kind::kPlain:
      break;
    case Kind::kTies:
      for (float& value : embedding) value = std::rint(value);
      break;
    case Kind::kZeros:
      std::fill(embedding.begin(), embedding.end(), 0.0f);
      break;
    case Kind::kSubnormal:
      for (float& value : embedding) value *= 1e-42f;
      break;
    case Kind::kLarge:
      for (float& value : embedding) value *= 5e37f;
      break;
    case Kind::kInfinite:
      fill(300, kInfinity, 0.0f);
      fill(300, -kInfinity, 0.0f);
      break;
    case Kind::kNotNumbers:
      fill(60, std::nanf(""), std::nanf(""));
      break;
    case Kind::kExcluded:
      for (int64_t item = 1; item < n_items - 30; item += n_items % 2 ? 2 : 1) {
        exclude.push_back(static_cast<int32_t>(item));
      }
  }
  const NativeBackend backend(model.weights, 1);
  Batch all;
  for (int row = 0; row < 3; ++row) all.data.push_back({{}, normal(generator, model.state_size()), n_items, exclude});
  all.run(backend);
  for (const Ranked& ranked : all.ranked) {
    const int64_t count = std::count_if(ranked.items.begin(), ranked.items.end(), [](int32_t i) { return i > 0; });
    EXPECT_GT(count, 30);
    EXPECT_EQ(std::set<int32_t>(ranked.items.begin(), ranked.items.begin() + count).size(), static_cast<size_t>(count));
    for (int64_t rank = 1; rank < count; ++rank) EXPECT_FALSE(ranked.scores[rank] > ranked.scores[rank - 1]);
    for (int64_t rank = 0; rank < count; ++rank) {
      EXPECT_FALSE(std::binary_search(exclude.begin(), exclude.end(), ranked.items[static_cast<size_t>(rank)]));
    }
  }
  for (const int64_t k : {1, 10, 128}) {
    Batch few = all.part(0, 3);
    for (Batch::RowData& row : few.data) row.k = k;
    few.run(backend);
    for (size_t row = 0; row < 3; ++row) {
      const Ranked& of_all = all.ranked[row];
      expect_same(few.ranked[row], {{of_all.items.begin(), of_all.items.begin() + k},
                                    {of_all.scores.begin(), of_all.scores.begin() + k}});
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Catalogues, FewResults,
                         ::testing::Combine(::testing::Values(Kind::kPlain, Kind::kTies, Kind::kZeros, Kind::kSubnormal,
                                                              Kind::kLarge, Kind::kInfinite, Kind::kNotNumbers,
                                                              Kind::kExcluded),
                                            ::testing::Values(1023, 1024, 2048, 3416)));

TEST(NativeBackend, TakesMissingWeightsForZeros) {
  Generator generator(8);
  RandomModel model(generator, 40, 6, 7, 8, 3, 2);
  for (LayerWeights& layer : model.weights.layers) layer.conv_bias = layer.up_bias = layer.out_proj = nullptr;
  model.weights.norm_bias = nullptr;
  Batch batch = random_batch(generator, model, 5);
  batch.run(NativeBackend(model.weights, 1));
  for (size_t at = 0; at < batch.data.size(); ++at) {
    std::vector<double> expected(batch.data[at].state_in.begin(), batch.data[at].state_in.end());
    for (const int32_t item : batch.data[at].items) model.feed(item, &expected);
    for (size_t s = 0; s < expected.size(); ++s) EXPECT_NEAR(batch.states[at][s], expected[s], 1e-4);
  }
  model.weights.embedding = nullptr;
  Batch of_zeros = batch.part(0, 1);
  of_zeros.data[0].k = 3;
  of_zeros.run(NativeBackend(model.weights, 1));
  expect_same(of_zeros.ranked[0], {{1, 2, 3}, {0, 0, 0}});
}

TEST(NativeBackend, ReadsWeightsAtAnyAddress) {
  Generator generator(9);
  for (const int64_t n_items : {100, 9000}) {
    RandomModel model(generator, n_items, 6, 7, 8, 3, 1);
    Batch batch = random_batch(generator, model, 5);
    for (Batch::RowData& row : batch.data) row.k = 10;
    batch.run(NativeBackend(model.weights, 1));
    std::list<std::vector<unsigned char>> copies;
    const auto shift = [&](const void** array) {
      for (const std::vector<float>& values : model.arrays()) {
        if (values.data() != *array) continue;
        std::vector<unsigned char>& copy = copies.emplace_back(values.size() * sizeof(float) + 1);
        std::memcpy(copy.data() + 1, values.data(), values.size() * sizeof(float));
        *array = copy.data() + 1;
        return;
      }
    };
    ModelWeights& w = model.weights;
    LayerWeights& l = w.layers[0];
    for (const void** array :
         {&w.embedding, &w.norm_weight, &w.norm_bias, &l.in_proj, &l.conv_weight, &l.conv_bias, &l.gates, &l.gates_bias,
          &l.decay, &l.out_proj, &l.recurrent_norm_weight, &l.recurrent_norm_bias, &l.up, &l.up_bias, &l.down,
          &l.down_bias, &l.feed_forward_norm_weight, &l.feed_forward_norm_bias}) {
      shift(array);
    }
    ASSERT_EQ(copies.size(), 18u);
    Batch again = batch.part(0, 5);
    again.run(NativeBackend(model.weights, 1));
    expect_same_states(again.states, batch.states);
    EXPECT_EQ(again.ranked, batch.ranked);
  }
}

TEST(NativeBackend, RefusesWhatIsOutOfRange) {
  Generator generator(10);
  const RandomModel model(generator, 50, 6, 7, 8, 3, 1);
  const NativeBackend backend(model.weights, 1);
  const auto message = [&](const Batch::RowData& row) -> std::string {
    Batch batch;
    batch.data = {row};
    try {
      batch.run(backend);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.what();
    }
    return "";
  };
  const std::vector<float> state(static_cast<size_t>(model.state_size()));
  EXPECT_EQ(message({{3, 50}, state, 50}), "");
  EXPECT_EQ(message({{3, 51}, state, 5}), "items[1] is 51: it must be from 1 to 50");
  EXPECT_EQ(message({{0}, state, 5}), "items[0] is 0: it must be from 1 to 50");
  EXPECT_EQ(message({{}, state, 5, {51}}), "an item to exclude is 51: it must be from 1 to 50");
  EXPECT_EQ(message({{}, state, 5, {}, {{-1, 3}}}), "an item to rank is -1: it must be from 1 to 50");
  EXPECT_THROW(NativeBackend(model.weights, 0), Error);
}

TEST(NativeBackend, SaysWhatItIs) {
  Generator generator(11);
  const RandomModel model(generator, 5, 2, 2, 2, 2, 1);
  EXPECT_EQ(NativeBackend(model.weights, 1).description(), "recblr's own kernels on the CPU, 1 thread");
  EXPECT_EQ(NativeBackend(model.weights, 2).description(), "recblr's own kernels on the CPU, 2 threads");
}

}  // namespace
}  // namespace recblr::testing
