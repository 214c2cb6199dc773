#include "server/model/models.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <limits>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/model/reloader.h"
#include "tiny_bundle.h"

namespace recblr::server {
namespace {

using tests::TemporaryFolder;
using tests::TinyBundle;

constexpr auto kPatience = std::chrono::seconds(30);

bool soon(const std::function<bool()>& holds) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// A backend of the test's: what a run does before all scores are 0.
class Scripted : public Backend {
 public:
  Expected<void> run(const recblr_backend_run& run) override {
    std::fill_n(run.state_out, run.n_rows * state_size, 0.0F);
    for (int64_t j = 0; j < run.n_rows * run.k; ++j) {
      run.top_items[j] = static_cast<int32_t>(j % run.k + 1);
      run.top_scores[j] = score;
    }
    return before ? before() : Expected<void>();
  }
  std::string description() const override { return "of a test"; }
  int64_t max_k() const override { return TinyBundle().n_items; }

  int64_t state_size = TinyBundle().state_size();
  float score = 0;
  std::function<Expected<void>()> before;
};

class ModelsTest : public ::testing::Test {
 protected:
  // A folder with a bundle whose weights are drawn with `seed`.
  std::string bundle(const std::string& name, unsigned seed = 0, bool has_string_ids = false) {
    const std::string path = folder_.path() + "/" + name;
    std::filesystem::create_directory(path);
    TinyBundle tiny;
    tiny.seed = seed;
    tiny.has_string_ids = has_string_ids;
    write_bundle(tiny, path);
    return path;
  }

  static ModelOptions options(const std::string& path) {
    ModelOptions options;
    options.path = path;
    options.engine.batching = Batching{};
    return options;
  }

  static float best_score(const ServedModel& model) {
    IntegerIds histories;
    histories.add_row({10, 20});
    Result result;
    model.engine.recommend(Request(histories), &result);
    return result.row(0).score(0);
  }

  void lead(const std::string& link, const std::string& target) const {
    const std::string made = folder_.path() + "/made";
    std::filesystem::create_symlink(target, made);
    std::filesystem::rename(made, link);
  }

  TemporaryFolder folder_;
};

TEST_F(ModelsTest, BeforeItIsLoadedThereIsNone) {
  Models models(options(bundle("a")));
  EXPECT_EQ(models.current(), nullptr);
  EXPECT_EQ(models.users(), nullptr);
  EXPECT_FALSE(models.ready());
  EXPECT_EQ(models.reload().error().status, Status::kOverloaded);
}

TEST_F(ModelsTest, ALoadedModelAnswersAndSaysWhatItIs) {
  ModelOptions given = options(bundle("a"));
  given.name = "shop";
  given.store = "";
  Models models(given);
  models.load();
  const ServedModelPtr model = models.current();
  EXPECT_TRUE(models.ready());
  EXPECT_EQ(model->name, "shop");
  EXPECT_EQ(model->version, 1);
  EXPECT_EQ(model->path, given.path);
  EXPECT_EQ(model->resolved_path, std::filesystem::canonical(given.path));
  EXPECT_EQ(model->bundle.n_items(), TinyBundle().n_items);
  ASSERT_NE(models.users(), nullptr);
  models.users()->add_events(1, {10, 20});
  Result result;
  models.users()->recommend(1, &result);
  EXPECT_EQ(result.row(0).score(0), best_score(*model));
  models.set_draining();
  EXPECT_FALSE(models.ready());
}

TEST_F(ModelsTest, WhatCannotBeLoadedIsToldInWords) {
  Models models(options(folder_.path() + "/none"));
  try {
    models.load();
    FAIL() << "it loads";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::kBadBundle);
    EXPECT_NE(std::string(error.what()).find("/none"), std::string::npos) << error.what();
  }
  EXPECT_EQ(models.current(), nullptr);
}

TEST_F(ModelsTest, AnotherModelTakesOverAndGivesWayAgain) {
  ModelOptions given = options(bundle("a", 1));
  given.store = "";
  Models models(given);
  std::vector<ModelEvent::Kind> events;
  models.on_event([&events](const ModelEvent& event) { events.push_back(event.kind); });
  models.load();
  models.users()->add_events(1, {10, 20});
  const ServedModelPtr first = models.current();
  const Expected<ServedModelPtr> second = models.reload(bundle("b", 2));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(*second, models.current());
  EXPECT_EQ((*second)->version, 2);
  EXPECT_NE(best_score(**second), best_score(*first));
  Result result;
  models.users()->recommend(1, &result);
  EXPECT_EQ(result.row(0).score(0), best_score(**second));

  EXPECT_EQ(*models.rollback(), first);
  EXPECT_EQ(models.current(), first);
  models.users()->recommend(1, &result);
  EXPECT_EQ(result.row(0).score(0), best_score(*first));
  const Expected<ServedModelPtr> third = models.rollback();
  ASSERT_FALSE(third);
  EXPECT_EQ(third.error().status, Status::kInvalidArgument);
  EXPECT_EQ((*models.reload())->version, 3);
  using Kind = ModelEvent::Kind;
  EXPECT_EQ(events, (std::vector<Kind>{Kind::kLoaded, Kind::kReloaded, Kind::kRolledBack, Kind::kRollbackFailed,
                                       Kind::kReloaded}));
}

TEST_F(ModelsTest, AFailedReloadChangesNothing) {
  ModelOptions given = options(bundle("a"));
  given.store = "";
  Models models(given);
  models.load();
  const ServedModelPtr first = models.current();
  std::vector<std::string> told;
  models.on_event([&](const ModelEvent& event) {
    EXPECT_EQ(event.kind, ModelEvent::Kind::kReloadFailed);
    EXPECT_EQ(event.model, first);
    told.push_back(event.failure.message);
  });
  const std::string altered = bundle("altered");
  std::filesystem::resize_file(altered + "/model.onnx", 10);
  EXPECT_EQ(models.reload(altered).error().status, Status::kBadBundle);
  EXPECT_EQ(models.reload(bundle("strings", 0, true)).error().status, Status::kBadConfig);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_NE(told[0].find("model.onnx"), std::string::npos) << told[0];
  EXPECT_NE(told[1].find("integers"), std::string::npos) << told[1];
  EXPECT_EQ(models.current(), first);
  EXPECT_TRUE(models.ready());
  models.on_event(nullptr);
  EXPECT_EQ(models.rollback().error().status, Status::kInvalidArgument);
}

TEST_F(ModelsTest, WithoutUsersIdsOfTheOtherTypeAreFine) {
  Models models(options(bundle("a")));
  models.load();
  ASSERT_TRUE(models.reload(bundle("strings", 0, true)));
  EXPECT_TRUE(models.current()->bundle.has_string_ids());
}

TEST_F(ModelsTest, AModelThatFailsToWarmUpDoesNotTakeOver) {
  ModelOptions given = options(bundle("a"));
  const auto backend = std::make_shared<Scripted>();
  given.engine.backend = backend;
  Models models(given);
  models.load();
  const ServedModelPtr first = models.current();
  backend->before = [] { return Failure{Status::kBackendFailed, "no memory on the device"}; };
  const Expected<ServedModelPtr> failed = models.reload();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("no memory on the device"), std::string::npos) << failed.error().message;
  backend->before = nullptr;
  backend->score = std::numeric_limits<float>::quiet_NaN();
  const Expected<ServedModelPtr> no_numbers = models.reload();
  ASSERT_FALSE(no_numbers);
  EXPECT_EQ(no_numbers.error().status, Status::kBackendFailed);
  EXPECT_NE(no_numbers.error().message.find(given.path), std::string::npos) << no_numbers.error().message;
  EXPECT_NE(no_numbers.error().message.find("a score of nan"), std::string::npos) << no_numbers.error().message;
  EXPECT_EQ(models.current(), first);
}

TEST_F(ModelsTest, SmallQueuesAndTimesDoNotHinderTheWarmUp) {
  ModelOptions given = options(bundle("a"));
  given.engine.batching->max_queued_rows = 1;
  given.engine.batching->max_queued_tokens = 16;
  given.engine.batching->timeout = 1e-6;
  Models models(given);
  models.load();
  EXPECT_TRUE(models.ready());
}

TEST_F(ModelsTest, ShortTimesDoNotHinderTheRebuildingOfUsers) {
  ModelOptions given = options(bundle("a"));
  given.store = "";
  given.engine.batching->timeout = 1e-6;
  Models models(given);
  models.load();
  RankOptions patient;
  patient.timeout = 60;
  for (int64_t user = 1; user <= 30; ++user) {
    models.users()->add_events(user, {10, 20});
    Result result;
    models.users()->recommend(user, &result, patient);
  }
  const Expected<ServedModelPtr> reloaded = models.reload(bundle("b", 1));
  ASSERT_TRUE(reloaded) << reloaded.error().message;
  EXPECT_EQ(models.users()->metrics().cached_users, 30);
}

TEST_F(ModelsTest, OneReloadAtATimeAndNoneIntoAClosedServer) {
  ModelOptions given = options(bundle("a"));
  const auto backend = std::make_shared<Scripted>();
  given.engine.backend = backend;
  Models models(given);
  models.load();
  std::promise<void> begun, go_on;
  std::atomic<bool> is_first{true};
  const std::shared_future<void> may_go_on = go_on.get_future().share();
  backend->before = [&]() -> Expected<void> {
    if (is_first.exchange(false)) begun.set_value();
    may_go_on.wait();
    return {};
  };
  auto slow = std::async(std::launch::async, [&models] { return models.reload(); });
  begun.get_future().wait();
  EXPECT_EQ(models.reload().error().status, Status::kOverloaded);
  EXPECT_EQ(models.rollback().error().status, Status::kOverloaded);
  models.close(0);
  go_on.set_value();
  const Expected<ServedModelPtr> late = slow.get();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().status, Status::kClosed);
  EXPECT_EQ(models.current()->version, 1);
}

TEST_F(ModelsTest, OldModelsAreFreedOnceTheirRequestsHaveEnded) {
  Models models(options(bundle("a")));
  models.load();
  const std::weak_ptr<const ServedModel> first = models.current();
  ServedModelPtr held = models.current();
  ASSERT_TRUE(models.reload());
  const std::weak_ptr<const ServedModel> second = models.current();
  ASSERT_TRUE(models.reload());
  ASSERT_TRUE(models.reload());
  EXPECT_FALSE(first.expired());
  EXPECT_TRUE(second.expired());
  EXPECT_GT(best_score(*held), -1e30F);  // it still answers
  // The last who holds it may be in one of its engine's own threads.
  IntegerIds histories;
  histories.add_row({10});
  Result result;
  std::promise<void> ended;
  const ServedModel& asked = *held;
  asked.engine.submit(Request(histories), &result, [model = std::move(held), &ended](Expected<void> done) mutable {
    EXPECT_TRUE(done);
    model.reset();
    ended.set_value();
  });
  ended.get_future().wait();
  EXPECT_TRUE(soon([&] { return first.expired(); }));
}

TEST_F(ModelsTest, AModelMayOutliveTheServer) {
  ServedModelPtr model;
  {
    Models models(options(bundle("a")));
    models.load();
    model = models.current();
  }
  EXPECT_GT(best_score(*model), -1e30F);
}

TEST_F(ModelsTest, ReloadsUnderRequestsFailNone) {
  const std::string paths[] = {bundle("a", 1), bundle("b", 2)};
  ModelOptions given = options(paths[0]);
  given.store = "";
  Models models(given);
  models.load();
  for (int64_t user = 0; user < 8; ++user) models.users()->add_events(user, {10, 20, 30});
  std::atomic<bool> is_over{false};
  std::atomic<int64_t> answered{0};
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      IntegerIds histories;
      histories.add_row({10, 20, 30});
      Result result;
      while (!is_over) {
        const ServedModelPtr model = models.current();
        const Expected<void> done = client % 2 == 0 ? model->engine.try_recommend(Request(histories), &result)
                                                    : models.users()->try_recommend(client, &result);
        if (!done) ADD_FAILURE() << done.error().message;
        ++answered;
      }
    });
  }
  for (int j = 0; j < 40; ++j) {
    const Expected<ServedModelPtr> changed = j % 5 == 4 ? models.rollback() : models.reload(paths[j % 2]);
    ASSERT_TRUE(changed) << changed.error().message;
  }
  is_over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_GT(answered, 0);
  models.close(10);
  EXPECT_EQ(models.users()->try_history(1).error().status, Status::kClosed);
}

TEST_F(ModelsTest, AChangedLinkReloadsAndATargetThatFailsIsTriedLessAndLessOften) {
  const std::string link = folder_.path() + "/current", broken = bundle("broken");
  std::filesystem::resize_file(broken + "/model.onnx", 10);
  lead(link, bundle("a"));
  Models models(options(link));
  std::atomic<int> reloaded{0}, failed{0};
  models.on_event([&](const ModelEvent& event) {
    reloaded += event.kind == ModelEvent::Kind::kReloaded;
    failed += event.kind == ModelEvent::Kind::kReloadFailed;
  });
  models.load();
  Reloader reloader(&models, link, 0.01, nullptr);
  lead(link, broken);
  ASSERT_TRUE(soon([&] { return failed == 2; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // in which it looks some twenty times
  EXPECT_LE(failed, 6);                                         // at 0, 0.01, 0.03, 0.07, 0.15, 0.31 seconds
  EXPECT_EQ(models.current()->version, 1);
  lead(link, bundle("b"));
  ASSERT_TRUE(soon([&] { return reloaded == 1; }));
  EXPECT_EQ(models.current()->resolved_path, std::filesystem::canonical(link));
  reloader.request();
  ASSERT_TRUE(soon([&] { return reloaded == 2; }));
  EXPECT_TRUE(soon([&] { return reloader.stop(); }));
  lead(link, bundle("c"));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(reloaded, 2);
}

class CopiedTargetTest : public ModelsTest {
 protected:
  // Serves by a link that then leads to `next_`, which is still being copied: loading it has failed once.
  void lead_to_a_part(double interval) {
    lead(link_, bundle("a"));
    models_.on_event([this](const ModelEvent& event) { failed_ += event.kind == ModelEvent::Kind::kReloadFailed; });
    models_.load();
    std::filesystem::rename(graph_, graph_ + ".part");
    reloader_.emplace(&models_, link_, interval, nullptr);
    lead(link_, next_);
    ASSERT_TRUE(soon([this] { return failed_ >= 1; }));
  }
  void complete() { std::filesystem::rename(graph_ + ".part", graph_); }
  bool is_served(const std::string& path) {
    return models_.current()->resolved_path == std::filesystem::canonical(path);
  }

  const std::string link_ = folder_.path() + "/current", next_ = bundle("next", 1), graph_ = next_ + "/model.onnx";
  std::atomic<int> failed_{0};
  Models models_{options(link_)};
  std::optional<Reloader> reloader_;
};

TEST_F(CopiedTargetTest, IsLoadedOnceItIsWhole) {
  ASSERT_NO_FATAL_FAILURE(lead_to_a_part(0.01));
  complete();
  EXPECT_TRUE(soon([this] { return is_served(next_); }));
}

TEST_F(CopiedTargetTest, IsNotTriedAgainOnceAnotherModelIsPutInPlace) {
  ASSERT_NO_FATAL_FAILURE(lead_to_a_part(0.05));
  const std::string other = bundle("other", 2);
  ASSERT_TRUE(soon([&] { return models_.reload(other) ? true : false; }));
  complete();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // in which it would be tried
  EXPECT_TRUE(is_served(other));
}

TEST_F(ModelsTest, ALinkThatLeadsNowhereIsToldOfOnce) {
  const std::string link = folder_.path() + "/current", next = bundle("next", 1);
  lead(link, bundle("a"));
  Models models(options(link));
  models.load();
  std::mutex mutex;
  std::vector<std::string> lines;
  const auto n_lines = [&] {
    const std::lock_guard<std::mutex> lock(mutex);
    return lines.size();
  };
  const Reloader reloader(&models, link, 0.005, [&](const std::string& line) {
    const std::lock_guard<std::mutex> lock(mutex);
    lines.push_back(line);
  });
  lead(link, folder_.path() + "/nowhere");
  ASSERT_TRUE(soon([&] { return n_lines() == 1; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // in which it looks some ten times
  EXPECT_EQ(n_lines(), 1U);
  EXPECT_EQ(lines[0], "--engine, '" + link +
                          "', leads nowhere: No such file or directory; let it lead to a bundle: until then the model "
                          "stays");
  lead(link, next);
  EXPECT_TRUE(soon([&] { return models.current()->resolved_path == std::filesystem::canonical(next); }));
}

TEST_F(ModelsTest, AReloadFromElsewhereBeforeTheLinkIsWatchedIsNotUndone) {
  const std::string link = folder_.path() + "/current", other = bundle("other");
  lead(link, bundle("a"));
  Models models(options(link));
  models.load();
  ASSERT_TRUE(models.reload(other));
  const Reloader reloader(&models, link, 0.005, nullptr);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // in which it looks some ten times
  EXPECT_EQ(models.current()->resolved_path, std::filesystem::canonical(other));
}

TEST_F(ModelsTest, WhatIsThrownInAReloadDoesNotEndTheServer) {
  Models models(options(bundle("a")));
  std::atomic<int> told{0};
  models.on_event([&told](const ModelEvent&) {
    ++told;
    throw std::bad_alloc();
  });
  models.load();
  Reloader reloader(&models, folder_.path() + "/a", 0, nullptr);
  reloader.request();
  EXPECT_TRUE(soon([&] { return told == 2; }));
  EXPECT_TRUE(models.ready());
}

TEST_F(ModelsTest, AReloadThatIsAskedForWaitsForTheOneUnderWay) {
  ModelOptions given = options(bundle("a"));
  const auto backend = std::make_shared<Scripted>();
  given.engine.backend = backend;
  Models models(given);
  std::atomic<int> reloaded{0};
  models.on_event([&](const ModelEvent& event) { reloaded += event.kind == ModelEvent::Kind::kReloaded; });
  models.load();
  std::promise<void> begun, go_on;
  std::atomic<bool> is_first{true};
  const std::shared_future<void> may_go_on = go_on.get_future().share();
  backend->before = [&]() -> Expected<void> {
    if (is_first.exchange(false)) begun.set_value();
    may_go_on.wait();
    return {};
  };
  auto slow = std::async(std::launch::async, [&models] { return models.reload(); });
  begun.get_future().wait();
  Reloader reloader(&models, given.path, 0, nullptr);
  reloader.request();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  go_on.set_value();
  EXPECT_TRUE(slow.get());
  EXPECT_TRUE(soon([&] { return reloaded == 2; }));
}

}  // namespace
}  // namespace recblr::server
