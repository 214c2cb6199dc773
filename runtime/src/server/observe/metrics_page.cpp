#include "server/observe/metrics_page.h"

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
  bool is_taken = false;
  guarded([&] { is_taken = pool_->post([self = shared_from_this()] { self->write(); }); }, [](const Failure&) {});
  if (is_taken) return;
  for (auto refused = take(); !refused.empty(); refused = take()) {
    for (const ExchangePtr& one : refused) {
      reply_error(one, 503, "overloaded", "too many requests wait: try again later");
    }
  }
}

void MetricsPage::write() {
  for (auto asking = take(); !asking.empty(); asking = take()) {
    Expected<std::string> text = std::string();
    guarded([&] { text = metrics_->text(); }, [&](const Failure& failure) { text = failure; });
    for (const ExchangePtr& one : asking) {
      guarded(one, [&] {
        if (!text) return reply_failure(one, text.error());
        Reply reply;
        reply.content_type = Metrics::kContentType;
        reply.body = *text;
        one->reply(std::move(reply));
      });
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
