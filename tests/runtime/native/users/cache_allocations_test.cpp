// What becomes of the cache of states where there is no memory for one more.
#include <gtest/gtest.h>

#include <new>
#include <string>
#include <vector>

#include "scarce_memory.h"
#include "users/state_cache.h"

namespace recblr {
namespace {

constexpr int64_t kSize = 3;
const std::vector<float> kState(kSize, 1);

StateCache::Ticket ticket_of(StateCache* cache, const std::string& user) {
  UserItems items;
  std::vector<float> state(kSize);
  return cache->take(user, &items, state.data());
}

// Puts a user into the cache; false where the memory for that ended, after so many allocations.
bool put(StateCache* cache, const std::string& user, int64_t allocations) {
  const StateCache::Ticket ticket = ticket_of(cache, user);
  UserItems items;
  items.place = {1, 1};
  tests::allocations_left = allocations;
  try {
    cache->put(user, ticket, items, kState.data());
    tests::allocations_left = -1;
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

TEST(StateCacheAllocations, ThatFailChangeNothing) {
  StateCache cache(kSize, 1 << 20, std::nullopt);
  int64_t kept = 0;
  int failed = 0;
  for (; kept < 300; ++kept) {  // more than a block, and an index that grows several times
    const std::string user = "u" + std::to_string(kept);
    for (int64_t n = 0; !put(&cache, user, n); ++n) {
      ++failed;
      ASSERT_EQ(cache.size(), kept);
      ASSERT_EQ(ticket_of(&cache, user).revision, 0U);
    }
    ASSERT_NE(ticket_of(&cache, user).revision, 0U);
  }
  EXPECT_GT(failed, 5);
  for (int64_t n = 0; n < kept; ++n) EXPECT_TRUE(cache.drop("u" + std::to_string(n)));
  EXPECT_EQ(cache.size(), 0);
}

}  // namespace
}  // namespace recblr
