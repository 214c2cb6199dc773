#include "engine/allow_list.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "id_rows.h"
#include "tiny_bundle.h"

namespace recblr {
namespace {

using tests::IdRows;
using tests::TinyBundle;

std::shared_ptr<const Bundle> opened(const TinyBundle& tiny) {
  const tests::TemporaryFolder folder;
  tests::write_bundle(tiny, folder.path());
  return Bundle::open(folder.path());
}

TEST(AllowListTest, HoldsTheKnownItemsAscendingAndOnce) {
  const AllowList list(IdRows(tests::Integers{{40, 999, 20, 40}}).ids());
  EXPECT_EQ(list.size(), 4);
  EXPECT_EQ(*list.items(opened({})), (std::vector<int32_t>{2, 4}));
}

TEST(AllowListTest, KeepsItsOwnCopyOfIdsAndStrangers) {
  std::unique_ptr<AllowList> list;
  {
    const IdRows rows(tests::Strings{{"item-3", "item-1"}});
    Ids ids = rows.ids();
    const std::string shown = "None", type = "NoneType";
    const Strangers strangers{0, 2, 1, shown.c_str(), type.c_str(), nullptr};
    ids.strangers = &strangers;
    ids.n_strangers = 1;
    list = std::make_unique<AllowList>(ids);
  }
  EXPECT_EQ(list->size(), 4);
  TinyBundle strings;
  strings.has_string_ids = true;
  EXPECT_EQ(*list->items(opened(strings)), (std::vector<int32_t>{1, 3}));
  try {
    list->items(opened({}));
    FAIL() << "it did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_EQ(std::string(error.what()).rfind("the AllowList: item id 'item-3' is of type str", 0), 0) << error.what();
  }
}

TEST(AllowListTest, IsLookedUpOnceForABundleAndAgainForAnother) {
  TinyBundle larger;
  larger.n_items = 9;
  const std::shared_ptr<const Bundle> small = opened({}), large = opened(larger);
  const AllowList list(IdRows(tests::Integers{{90, 10}}).ids());
  const auto first = list.items(small);
  EXPECT_EQ(list.items(small), first);
  EXPECT_EQ(*list.items(large), (std::vector<int32_t>{1, 9}));
  EXPECT_EQ(*list.items(small), *first);
}

TEST(AllowListTest, ThreadsShareOne) {
  const std::shared_ptr<const Bundle> bundles[] = {opened({}), opened({})};
  const AllowList list(IdRows(tests::Integers{{30, 10}}).ids());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) EXPECT_EQ(*list.items(bundles[(t + i) % 2]), (std::vector<int32_t>{1, 3}));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace recblr
