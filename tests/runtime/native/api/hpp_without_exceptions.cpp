// recblr.hpp where exceptions are off; compiled so, for hpp_test.cpp.
#include "hpp_without_exceptions.h"

#include <map>
#include <memory>
#include <vector>

#include "recblr/recblr.hpp"

namespace recblr::tests {

namespace {

std::string written(const Result& result) {
  std::string best;
  const auto ranking = result.try_row(0);
  for (size_t j = 0; j < ranking->size(); ++j) best += std::to_string(ranking->integer(j)) + " ";
  return best;
}

class Histories : public CustomStore {
 public:
  Expected<void> append(Span<const recblr_event> events, Span<uint8_t> added) override {
    for (size_t j = 0; j < events.size(); ++j) {
      const std::string user(Id(events[j].user).text());
      if (user == "fail") return Failure{Status::kStoreFailed, "out of luck; nothing was done"};
      for (int64_t i = 0; i < events[j].n_items; ++i) items_[user].push_back(events[j].items[i]);
      added[j] = 1;
    }
    return {};
  }
  Expected<void> read(Span<const recblr_id> users, Span<const int64_t>, recblr_events* events) override {
    for (size_t b = 0; b < users.size(); ++b) {
      const std::vector<recblr_id>& items = items_[std::string(Id(users[b]).text())];
      if (items.empty()) continue;
      const recblr_status status =
          recblr_events_add(events, static_cast<int64_t>(b), 1, 1, items.data(), static_cast<int64_t>(items.size()));
      if (status != RECBLR_OK) return Failure{static_cast<Status>(status), recblr_last_error()};
    }
    return {};
  }
  Expected<bool> forget(const Id& user) override { return items_.erase(std::string(user.text())) > 0; }

 private:
  std::map<std::string, std::vector<recblr_id>> items_;  // integers
};

}  // namespace

std::string best_without_exceptions(const std::string& path, int64_t id, int64_t k) {
  const auto bundle = Bundle::try_open(path);
  if (!bundle) return bundle.error().message;
  const auto engine = Engine::try_create(*bundle);
  if (!engine) return engine.error().message;
  auto result = Result::try_create();
  if (!result) return result.error().message;
  IntegerIds histories;
  histories.add_row({id});
  Request request(histories);
  request.k = k;
  if (const auto done = engine->try_recommend(request, &*result); !done) return done.error().message;
  return written(*result);
}

std::string best_of_user_without_exceptions(const std::string& path, const std::string& user, int64_t id, int64_t k) {
  const auto bundle = Bundle::try_open(path);
  if (!bundle) return bundle.error().message;
  const auto engine = Engine::try_create(*bundle);
  if (!engine) return engine.error().message;
  const auto store = Store::try_create(std::make_shared<Histories>());
  if (!store) return store.error().message;
  const auto recommender = Recommender::try_create(*engine, *store);
  if (!recommender) return recommender.error().message;
  if (const auto added = recommender->try_add_events(user, {id}); !added) return added.error().message;
  auto result = Result::try_create();
  if (!result) return result.error().message;
  RankOptions options;
  options.k = k;
  if (const auto done = recommender->try_recommend(user, &*result, options); !done) return done.error().message;
  return written(*result);
}

}  // namespace recblr::tests
