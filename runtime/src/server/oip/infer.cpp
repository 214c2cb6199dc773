#include "server/oip/infer.h"

#include <optional>
#include <utility>

#include "server/answer/large.h"
#include "server/answer/replies.h"
#include "server/oip/infer_request.h"
#include "server/oip/infer_response.h"

namespace recblr::server {
namespace {

std::optional<std::string_view> json_size(const Request& request) {
  const std::string_view size = request.header("Inference-Header-Content-Length");
  return size.empty() ? std::nullopt : std::optional(size);
}

}  // namespace

struct Infer::Job {
  ExchangePtr exchange;
  ServedModelPtr model;
  std::unique_ptr<serving::Question> question;
  WantedAnswer wanted{};
};

void Infer::answer(const ExchangePtr& exchange, const ServedModelPtr& model) {
  const auto job = std::make_shared<Job>(Job{exchange, model, model->questions->take()});
  const auto work = [self = shared_from_this(), job] { self->ask(job); };
  const auto fail = [self = shared_from_this(), job](const Failure& failure) { self->fail(*job, failure); };
  if (exchange->request().body.size() <= kLargeBody) return guarded(work, fail);
  run_in_pool(pool_, exchange, work, fail);
}

void Infer::ask(const std::shared_ptr<Job>& job) {
  const ServedModelPtr model = job->model;
  const ExchangePtr exchange = job->exchange;
  serving::Question& question = *job->question;
  const Request& request = exchange->request();
  const auto read =
      read_infer_request(request.body, json_size(request), options_.limits, model->bundle, &question, &job->wanted);
  if (!read) return fail(*job, read.error());
  exchange->record().rows = question.n_users();
  exchange->record().items = question.n_ids();
  const auto checked = serving::check_limits(question, options_.limits, model->bundle.n_items());
  if (!checked) return fail(*job, checked.error());
  question.limit_timeout(options_.timeout);
  question.may_run_here = serving::is_short(question, model->bundle);
  exchange->record().asked = std::chrono::steady_clock::now();
  const auto submitted =
      serving::submit(model->bundle, model->engine, &question, [self = shared_from_this(), job](Expected<void> done) {
        guarded([&] { self->finish(job, done); }, [&](const Failure& failure) { self->fail(*job, failure); });
      });
  if (!submitted) return fail(*job, submitted.error());
  // It may be answered already: then there is nobody to tell of the client, and nothing to cancel.
  exchange->on_client_gone([model, ticket = *submitted] { model->engine.cancel(ticket); });
}

void Infer::finish(const std::shared_ptr<Job>& job, const Expected<void>& done) {
  job->exchange->record().answered = std::chrono::steady_clock::now();
  if (!done) return fail(*job, done.error());
  // It is answered at the cost of this thread where the pool is full, as the work is done.
  const auto write_there = [self = shared_from_this(), job] {
    guarded([&] { self->write(job.get()); }, [&](const Failure& failure) { self->fail(*job, failure); });
  };
  if (is_large_answer(*job->question) && pool_->post(write_there)) return;
  write(job.get());
}

void Infer::write(Job* job) {
  Reply reply = infer_reply(*job->model, *job->question, job->wanted);
  job->model->questions->give_back(std::move(job->question));
  const RequestRecord& record = job->exchange->record();
  statistics_->add_success(*job->model, record.rows, record.began, record.asked, record.answered);
  job->exchange->reply(std::move(reply));
}

void Infer::fail(const Job& job, const Failure& failure) {
  statistics_->add_failure(*job.model, job.exchange->record().began);
  reply_failure(job.exchange, failure);
}

}  // namespace recblr::server
