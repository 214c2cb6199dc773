#include "server/observe/traces.h"

#include <chrono>
#include <utility>

namespace recblr::server {

namespace {

constexpr size_t kMostWaiting = 8192;
constexpr size_t kBatch = 512;
constexpr double kInterval = 1;  // seconds that spans wait for more
constexpr double kTimeout = 5;   // seconds of one request to the collector

}  // namespace

Traces::Traces(TraceTarget target, Log* log) : target_(std::move(target)), log_(log), thread_([this] { run(); }) {}

Traces::~Traces() {
  stop(0);
  thread_.join();
}

void Traces::add(const RequestRecord& record, std::string_view fingerprint) {
  using std::chrono::nanoseconds;
  const std::optional<TraceContext> given = read_traceparent(record.traceparent);
  if (given ? !given->is_sampled : random_share() >= target_.sample) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  Span span;
  span.trace_id = given ? given->trace_id : new_trace_id();
  span.parent_id = given ? given->parent_id : "";
  span.span_id = new_span_id();
  span.end = std::chrono::duration_cast<nanoseconds>(now).count();
  span.begin = span.end - static_cast<int64_t>(record.seconds * 1e9);
  span.protocol = record.protocol;
  span.method = record.method;
  span.route = record.route;
  span.reason = record.reason;
  span.request_id = record.request_id;
  span.fingerprint = fingerprint;
  span.status = record.status;
  span.rows = record.rows;
  span.items = record.items;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (waiting_.size() >= kMostWaiting || is_stopped_) {
    ++dropped_;
    return;
  }
  waiting_.push_back(std::move(span));
  if (waiting_.size() == kBatch) changed_.notify_all();
}

int64_t Traces::sent() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return sent_;
}

int64_t Traces::dropped() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return dropped_;
}

bool Traces::stop(double timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, std::chrono::duration<double>(timeout), [this] { return has_ended_; });
}

void Traces::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait_for(lock, std::chrono::duration<double>(kInterval),
                      [this] { return is_stopped_ || waiting_.size() >= kBatch; });
    if (waiting_.empty() && is_stopped_) break;
    if (waiting_.empty()) continue;
    std::vector<Span> spans;
    if (waiting_.size() <= kBatch) {
      spans.swap(waiting_);
    } else {
      const auto end = waiting_.begin() + kBatch;
      spans.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
      waiting_.erase(waiting_.begin(), end);
    }
    lock.unlock();
    send(spans);
    lock.lock();
    if (is_stopped_ && has_failed_) {  // there is no time to try again
      dropped_ += static_cast<int64_t>(waiting_.size());
      waiting_.clear();
    }
  }
  has_ended_ = true;
  changed_.notify_all();
}

void Traces::send(const std::vector<Span>& spans) {
  Headers headers = target_.headers;
  headers.emplace_back("Content-Type", "application/json");
  const Expected<int> status = post(target_.url, headers, otlp_json(spans, target_.service), kTimeout);
  const bool is_taken = status && *status / 100 == 2;
  const auto count = static_cast<int64_t>(spans.size());
  bool is_first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    (is_taken ? sent_ : dropped_) += count;
    is_first = !is_taken && !has_failed_;
    has_failed_ = !is_taken;
  }
  if (!is_first) return;  // told once, until it takes them again
  const std::string why = status ? "status " + std::to_string(*status) : status.error().message;
  log_->write(LogLevel::kWarning, "traces", "the collector takes no traces (" + why + "): they are left out",
              {{"host", target_.url.host}, {"port", target_.url.port}});
}

}  // namespace recblr::server
