#include "server/observe/metrics_page.h"

#include <exception>
#include <string>
#include <utility>

#include "server/answer/replies.h"

namespace recblr::server {

void MetricsPage::answer(const ExchangePtr& exchange) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(exchange);
    if (std::exchange(is_writing_, true)) return;
  }
  if (pool_->post([self = shared_from_this()] { self->write(); })) return;
  for (auto refused = take(); !refused.empty(); refused = take()) {
    for (const ExchangePtr& one : refused) {
      reply_error(one, 503, "overloaded", "too many requests wait: try again later");
    }
  }
}

void MetricsPage::write() {
  for (auto asking = take(); !asking.empty(); asking = take()) {
    std::string text;
    try {
      text = metrics_->text();
    } catch (const std::exception& error) {
      for (const ExchangePtr& one : asking) reply_failure(one, {Status::kInternal, error.what()});
      continue;
    }
    for (const ExchangePtr& one : asking) {
      Reply reply;
      reply.content_type = Metrics::kContentType;
      reply.body = text;
      one->reply(std::move(reply));
    }
  }
}

std::vector<ExchangePtr> MetricsPage::take() {
  const std::lock_guard lock(mutex_);
  std::vector<ExchangePtr> taken;
  taken.swap(waiting_);
  if (taken.empty()) is_writing_ = false;
  return taken;
}

}  // namespace recblr::server
