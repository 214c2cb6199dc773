#include "engine/threads.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace recblr {
namespace {

TEST(ThreadsTest, OfOneRun) {
  EXPECT_EQ(run_threads(0, false, 1000, 8), 8);
  EXPECT_EQ(run_threads(0, true, 1000, 8), 1);
  EXPECT_EQ(run_threads(0, true, kLargeCatalogue, 8), 8);
  EXPECT_EQ(run_threads(3, true, 1000, 8), 3);
  EXPECT_EQ(run_threads(3, false, kLargeCatalogue, 8), 3);
  EXPECT_THROW(run_threads(-1, false, 1000, 8), Error);
  EXPECT_EQ(run_threads(0, false, 1000, 2048), 1024);  // of more CPUs than threads are of use
}

TEST(ThreadsTest, WorkersUseTheCpusThatOneRunLeaves) {
  BatchingSettings given;
  EXPECT_EQ(filled_in(given, true, 1, 1000, 8).workers, 8);
  EXPECT_EQ(filled_in(given, true, 3, 1000, 8).workers, 2);
  EXPECT_EQ(filled_in(given, true, 8, kLargeCatalogue, 8).workers, 1);
  EXPECT_EQ(filled_in(given, true, 16, 1000, 8).workers, 1);
  EXPECT_EQ(filled_in(given, true, 1, 1000, 2048).workers, kMostWorkers);
  given.workers = 5;
  EXPECT_EQ(filled_in(given, true, 1, 1000, 8).workers, 5);
}

TEST(ThreadsTest, CallersMayShareTheCpusForShortRowsOfSmallNativeModels) {
  const BatchingSettings given;
  EXPECT_EQ(filled_in(given, true, 1, 1000, 2).short_places, 8);
  EXPECT_EQ(filled_in(given, false, 1, 1000, 2).short_places, 0);            // a GPU's runs do not share
  EXPECT_EQ(filled_in(given, true, 2, 1000, 2).short_places, 0);             // nor do teams of threads
  EXPECT_EQ(filled_in(given, true, 1, kLargeCatalogue, 1).short_places, 0);  // such runs are long
  BatchingSettings asked;
  asked.workers = 1;  // as many as were asked for
  EXPECT_EQ(filled_in(asked, true, 1, 1000, 2).short_places, 0);
}

TEST(ThreadsTest, OnlyAFullBatchIsEnoughForALargeCatalogue) {
  BatchingSettings given;
  given.enough_rows = given.enough_tokens = 0;
  const BatchingSettings small = filled_in(given, true, 1, kLargeCatalogue - 1, 2), defaults;
  EXPECT_EQ(small.enough_rows, defaults.enough_rows);
  EXPECT_EQ(small.enough_tokens, defaults.enough_tokens);
  const BatchingSettings large = filled_in(given, true, 2, kLargeCatalogue, 2);
  EXPECT_EQ(large.enough_rows, given.batch.rows);
  EXPECT_EQ(large.enough_tokens, given.batch.tokens);
  given.enough_rows = 3;
  EXPECT_EQ(filled_in(given, true, 2, kLargeCatalogue, 2).enough_rows, 3);
}

}  // namespace
}  // namespace recblr
