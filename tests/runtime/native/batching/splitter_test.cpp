#include "batching/splitter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "batching/fakes.h"
#include "batching/job.h"
#include "batching/settings.h"

namespace recblr {
namespace {

TEST(Splitter, FeedsALongRowInPiecesOfExactlyTheLimit) {
  const Asked asked(Lists{range(1, 20), {3}}, Lists{{5}, {6}});
  Splitter rows(asked.rows(), asked.n_rows());
  float scratch[4];
  std::vector<Row> pieces;
  while (rows.rows_left() > 0) {
    const Part part = rows.take(kSmall, kSmall, true);
    ASSERT_GT(part.n_rows, 0);
    Row row[4];
    write_rows(part, asked.rows(), kSmall, scratch, kStateSize, row);
    pieces.insert(pieces.end(), row, row + part.n_rows);
  }
  ASSERT_EQ(pieces.size(), 4u);
  const int64_t lengths[] = {8, 8, 4, 1};
  for (size_t n = 0; n < 4; ++n) {
    EXPECT_EQ(pieces[n].n_items, lengths[n]);
    EXPECT_NE(pieces[n].state_in, pieces[n].state_out);
    EXPECT_EQ(pieces[n].k, n < 2 ? 0 : 3);
    EXPECT_EQ(pieces[n].exclude.count, n < 2 ? 0 : 1);
  }
  EXPECT_EQ(pieces[0].state_in, asked.rows()[0].state_in);
  EXPECT_EQ(pieces[1].state_in, pieces[0].state_out);
  EXPECT_EQ(pieces[2].state_in, pieces[1].state_out);
  EXPECT_EQ(pieces[2].state_out, asked.rows()[0].state_out);
  EXPECT_EQ(pieces[2].items, asked.rows()[0].items + 16);
  EXPECT_EQ(pieces[3].state_in, asked.rows()[1].state_in);
}

TEST(Splitter, CutsRowsAlikeWhateverRoomThereIs) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    Lists lists(1 + random() % 6), exclude(lists.size());
    for (auto& list : lists) list.resize(random() % 40, 1);
    for (auto& list : exclude) list.resize(random() % 9, 1);
    const Asked asked(lists, exclude);
    Splitter rows(asked.rows(), asked.n_rows());
    std::vector<std::vector<int64_t>> cuts(lists.size());
    while (rows.rows_left() > 0) {
      Limits room{static_cast<int64_t>(1 + random() % 4), static_cast<int64_t>(random() % 9),
                  static_cast<int64_t>(random() % 7)};
      bool empty = random() % 2 == 0;
      const int64_t left = rows.tokens_left(), rows_left = rows.rows_left();
      Part part = rows.take(room, kSmall, empty);
      if (part.n_rows == 0) {  // nothing has changed, and a batch of its own has room
        EXPECT_EQ(rows.tokens_left(), left);
        room = kSmall;
        empty = true;
        part = rows.take(room, kSmall, empty);
        ASSERT_GT(part.n_rows, 0);
      }
      EXPECT_EQ(left - rows.tokens_left(), part.tokens);
      EXPECT_EQ(rows_left - rows.rows_left(), part.last ? part.n_rows : 0);
      EXPECT_LE(part.n_rows, room.rows);
      EXPECT_LE(part.tokens, part.last ? room.tokens : kSmall.tokens);
      if (!empty || part.n_rows > 1) {
        EXPECT_LE(part.exclusions, room.exclusions);
      }
      for (int64_t b = 0; b < part.n_rows; ++b) {
        const int64_t length = asked.rows()[part.first + b].n_items;
        cuts[static_cast<size_t>(part.first + b)].push_back(part.piece() ? part.tokens : length);
      }
    }
    for (size_t b = 0; b < lists.size(); ++b) {
      std::vector<int64_t> expected;
      int64_t length = static_cast<int64_t>(lists[b].size());
      for (; length > kSmall.tokens; length -= kSmall.tokens) expected.push_back(kSmall.tokens);
      expected.push_back(length);
      EXPECT_EQ(cuts[b], expected);
    }
  }
}

TEST(Splitter, ARowsExclusionsAreNeverSplit) {
  const Asked asked(Lists{{1}, {2}, {3}}, Lists{{1, 2}, range(1, 9), {1}});
  Splitter rows(asked.rows(), asked.n_rows());
  EXPECT_EQ(rows.take(kSmall, kSmall, true).n_rows, 1);
  EXPECT_EQ(rows.take({3, 8, 4}, kSmall, false).n_rows, 0);
  EXPECT_EQ(rows.take(kSmall, kSmall, true).exclusions, 9);
  EXPECT_EQ(rows.take({3, 8, 0}, kSmall, false).n_rows, 0);
  EXPECT_EQ(rows.take(kSmall, kSmall, true).n_rows, 1);
}

TEST(Splitter, RefusesNoRows) {
  EXPECT_EQ(error_of([] { Splitter(nullptr, 0); }).second, Code::kInvalidArgument);
}

TEST(Settings, AreClampedToTheBackend) {
  BatchingSettings settings = small_settings();
  settings.enough_rows = 99;
  const BatchingSettings used = checked(settings, {3, 100, 0});
  EXPECT_EQ(used.batch.rows, 3);
  EXPECT_EQ(used.batch.tokens, 8);
  EXPECT_EQ(used.batch.exclusions, 1);
  EXPECT_EQ(used.enough_rows, 3);
  settings.workers = 0;
  EXPECT_GE(checked(settings, {3, 100, 0}).workers, 1);
}

TEST(Settings, OutOfRangeAreRefused) {
  const auto refused = [](const std::function<void(BatchingSettings*)>& change) {
    BatchingSettings settings = small_settings();
    change(&settings);
    const auto [message, code] = error_of([&] { checked(settings, {1, 1, 1}); });
    EXPECT_EQ(code, Code::kConfig);
    return message;
  };
  EXPECT_EQ(refused([](auto* s) { s->batch.rows = 0; }), "max_batch_rows is 0: give a whole number of at least 1");
  EXPECT_EQ(refused([](auto* s) { s->workers = -1; }), "workers is -1: give a whole number of at least 0");
  EXPECT_EQ(refused([](auto* s) { s->workers = 1'000'000'000; }), "workers is 1000000000: give at most 1,024");
  EXPECT_EQ(refused([](auto* s) { s->max_delay = -1; }), "max_delay is -1.0: give seconds, 0 for none");
  EXPECT_EQ(refused([](auto* s) { s->max_delay = kNever; }), "max_delay is inf: give seconds, 0 for none");
  EXPECT_EQ(refused([](auto* s) { s->timeout = 0; }), "timeout is 0.0: give seconds above 0");
  EXPECT_EQ(refused([](auto* s) { s->timeout = std::nan(""); }), "timeout is nan: give seconds above 0");
}

}  // namespace
}  // namespace recblr
