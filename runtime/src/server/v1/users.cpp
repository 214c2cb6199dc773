#include "server/v1/users.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/answer/json_text.h"
#include "server/answer/replies.h"
#include "server/v1/answer.h"
#include "server/v1/user_request.h"
#include "serving/limits.h"
#include "serving/text.h"

namespace recblr::server {

namespace {

using Clock = std::chrono::steady_clock;

void append_id(const Id& id, std::string* out) {
  if (id.is_string()) {
    append_string(id.text(), out);
  } else if (id.is_big_integer()) {
    *out += id.text();
  } else {
    append_integer(id.integer(), out);
  }
}

// Several ids in one value, for a catalogue whose ids are integers, which have no commas.
Expected<void> check_commas(std::string_view name, const std::optional<serving::IdRows>& rows) {
  if (!rows || !rows->has_strings()) return {};
  const recblr_ids ids = rows->view();
  for (int64_t j = 0; j < rows->n_ids(); ++j) {
    const std::string_view id(ids.text + ids.text_offsets[j],
                              static_cast<size_t>(ids.text_offsets[j + 1] - ids.text_offsets[j]));
    if (id.find(',') == std::string_view::npos) continue;
    return Failure{Status::kInvalidArgument, std::string(name) + " is " + serving::shown(id) +
                                                 ": give the parameter once for each id, such as " + std::string(name) +
                                                 "=1&" + std::string(name) + "=2"};
  }
  return {};
}

Expected<void> check(const serving::Question& asked, const serving::QuestionLimits& limits, const Bundle& bundle) {
  const int64_t n_items = bundle.n_items();
  if (!bundle.has_string_ids()) {
    if (Expected<void> checked = check_commas("exclude", asked.exclude); !checked) return checked;
    if (Expected<void> checked = check_commas("only", asked.only); !checked) return checked;
  }
  if (Expected<void> checked = serving::check_values(asked, n_items); !checked) return checked;
  return serving::check_limits(asked, limits, n_items);
}

// Views of what was asked.
RankOptions options_of(const serving::Question& asked) {
  RankOptions options;
  options.k = asked.k.value_or(0);
  options.exclude_seen = asked.exclude_seen;
  if (asked.exclude) options.exclude = asked.exclude->view();
  if (asked.only) options.only_ids = asked.only->view();
  return options;
}

Failure late(double seconds) {
  char message[120];
  std::snprintf(message, sizeof message,
                "the request waited %.3g s for the store, longer than it may: try again later, or allow more time",
                seconds);
  return {Status::kDeadline, message};
}

void reply_no_store(const ExchangePtr& exchange) {
  reply_error(exchange, 404, "not_found", "this server keeps no histories: start it with --store");
}

const char* text_of(bool value) { return value ? "true" : "false"; }

}  // namespace

void Users::run(const ExchangePtr& exchange, Call call) const {
  exchange->record().rows = 1;
  const auto work = [models = models_, exchange, call = std::move(call), timeout = options_.timeout,
                     began = Clock::now()] {
    const double waited = std::chrono::duration<double>(Clock::now() - began).count();
    if (timeout && waited >= *timeout) return reply_failure(exchange, late(waited));
    if (models->current() == nullptr) return reply_loading(exchange);
    const std::shared_ptr<const Recommender> users = models->users();
    if (users == nullptr) return reply_no_store(exchange);
    Expected<std::string> text = call(*users, timeout ? std::optional(*timeout - waited) : std::nullopt);
    if (!text) return reply_failure(exchange, text.error());
    reply_json(exchange, *std::move(text));
  };
  run_in_pool(pool_, exchange, work);
}

void Users::add_events(const ExchangePtr& exchange) const {
  run(exchange,
      [exchange, limits = options_.limits](const Recommender& users, std::optional<double>) -> Expected<std::string> {
        const Expected<UserQuery> query = read_user_query(exchange->request(), false);
        if (!query) return query.error();
        const Expected<EventsBody> body = read_events(exchange->request().body, limits);
        if (!body) return body.error();
        exchange->record().items = body->n_items;
        const Expected<std::vector<bool>> added = users.try_add_events_many(body->of(query->user.view()));
        if (!added) return added.error();
        std::string text = "{\"added\":";
        if (!body->is_list) return text + text_of((*added)[0]) + "}";
        for (size_t j = 0; j < added->size(); ++j) {
          text += j == 0 ? "[" : ",";
          text += text_of((*added)[j]);
        }
        return text + (added->empty() ? "[]}" : "]}");
      });
}

void Users::recommend(const ExchangePtr& exchange) const {
  Expected<UserQuery> read = read_user_query(exchange->request(), true);
  if (!read) return reply_failure(exchange, read.error());
  const auto query = std::make_shared<UserQuery>(*std::move(read));
  exchange->record().items = query->ranking.n_ids();
  const ServedModelPtr model = models_->current();
  if (model == nullptr) return reply_loading(exchange);
  const std::shared_ptr<const Recommender> users = models_->users();
  if (users == nullptr) return reply_no_store(exchange);
  const Expected<void> checked = check(query->ranking, options_.limits, model->bundle);
  if (!checked) return reply_failure(exchange, checked.error());
  if (serving::is_short(query->ranking, model->bundle)) {
    exchange->record().rows = 1;
    exchange->record().asked = Clock::now();
    const Expected<bool> done =
        users->try_recommend_now(query->user.view(), &query->ranking.result, options_of(query->ranking));
    exchange->record().answered = Clock::now();
    if (!done) return reply_failure(exchange, done.error());
    if (*done) return reply_json(exchange, user_ranking_text(query->ranking.result));
  }
  run(exchange, [exchange, query](const Recommender& users, std::optional<double> left) -> Expected<std::string> {
    serving::Question& asked = query->ranking;
    RankOptions options = options_of(asked);
    options.timeout = left;
    exchange->record().asked = Clock::now();
    const Expected<void> done = users.try_recommend(query->user.view(), &asked.result, options);
    exchange->record().answered = Clock::now();
    if (!done) return done.error();
    return user_ranking_text(asked.result);
  });
}

void Users::history(const ExchangePtr& exchange) const {
  run(exchange, [exchange](const Recommender& users, std::optional<double>) -> Expected<std::string> {
    const Expected<UserQuery> query = read_user_query(exchange->request(), false);
    if (!query) return query.error();
    const Id user = query->user.view();
    const Expected<IdList> items = users.try_history(user);
    if (!items) return items.error();
    std::string text = "{\"user\":";
    append_id(user, &text);
    text += ",\"items\":[";
    for (size_t j = 0; j < items->size(); ++j) {
      if (j > 0) text += ',';
      append_id((*items)[j], &text);
    }
    return text + "]}";
  });
}

void Users::forget(const ExchangePtr& exchange) const {
  run(exchange, [exchange](const Recommender& users, std::optional<double>) -> Expected<std::string> {
    const Expected<UserQuery> query = read_user_query(exchange->request(), false);
    if (!query) return query.error();
    const Expected<bool> found = users.try_forget(query->user.view());
    if (!found) return found.error();
    return std::string("{\"found\":") + text_of(*found) + "}";
  });
}

}  // namespace recblr::server
