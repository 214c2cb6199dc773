#include "server/v1/recommend.h"

#include <utility>

#include "server/answer/large.h"
#include "server/answer/replies.h"
#include "server/v1/answer.h"
#include "server/v1/body_reader.h"
#include "server/v1/id_sinks.h"
#include "serving/limits.h"

namespace recblr::server {

namespace {

Expected<void> read_question(std::string_view body, const serving::QuestionLimits& limits,
                             serving::Question* question) {
  IdCount count(limits);
  RowsSink histories(&question->items, &count), exclude(&question->exclude, &count), only(&question->only, &count);
  const Expected<void> read =
      read_body(body, {{"histories", Field::Rows{&histories}, "give one list of item ids per user", true},
                       {"k", &question->k, "give a whole number"},
                       {"exclude_seen", &question->exclude_seen, "give true or false"},
                       {"exclude", Field::Rows{&exclude}, "give one list of item ids per user", false, true},
                       {"only", Field::Row{&only}, "give a list of item ids", false, true}});
  return read ? count.check("users") : read;
}

}  // namespace

struct Recommend::Job {
  ExchangePtr exchange;
  ServedModelPtr model;
  std::unique_ptr<serving::Question> question;
};

void Recommend::answer(const ExchangePtr& exchange) {
  if (exchange->request().body.size() <= kLargeBody) return ask(exchange);
  run_in_pool(pool_, exchange, [self = shared_from_this(), exchange] { self->ask(exchange); });
}

void Recommend::ask(const ExchangePtr& exchange) {
  const ServedModelPtr model = models_->current();
  if (model == nullptr) return reply_loading(exchange);
  const auto job = std::make_shared<Job>(Job{exchange, model, model->questions->take()});
  serving::Question& question = *job->question;
  if (const auto read = read_question(exchange->request().body, options_.limits, &question); !read) {
    return reply_failure(exchange, read.error());
  }
  exchange->record().rows = question.n_users();
  exchange->record().items = question.n_ids();
  if (const auto checked = serving::check_limits(question, options_.limits, model->bundle.n_items()); !checked) {
    return reply_failure(exchange, checked.error());
  }
  question.may_run_here = serving::is_short(question, model->bundle);
  const auto submitted =
      serving::submit(model->bundle, model->engine, &question, [self = shared_from_this(), job](Expected<void> done) {
        guarded(job->exchange, [&] { self->finish(job, done); });
      });
  if (!submitted) return reply_failure(exchange, submitted.error());
  // It may be answered already: then there is nobody to tell of the client, and nothing to cancel.
  exchange->on_client_gone([model, ticket = *submitted] { model->engine.cancel(ticket); });
}

void Recommend::finish(const std::shared_ptr<Job>& job, const Expected<void>& done) {
  if (!done) return reply_failure(job->exchange, done.error());
  const auto write = [job] {
    std::string text = rankings_text(*job->question);
    job->model->questions->give_back(std::move(job->question));
    reply_json(job->exchange, std::move(text));
  };
  if (!is_large_answer(*job->question)) return write();
  // It is answered at the cost of this thread where the pool is full, as the work is done.
  if (!pool_->post([job, write] { guarded(job->exchange, write); })) write();
}

}  // namespace recblr::server
