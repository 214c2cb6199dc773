#include "server/observe/traces.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "server/observe/trace_context.h"

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
  const auto since_1970 = [&](std::chrono::steady_clock::time_point time) {
    if (time == std::chrono::steady_clock::time_point{}) return int64_t{0};
    return std::min(span.begin + std::chrono::duration_cast<nanoseconds>(time - record.began).count(), span.end);
  };
  span.asked = since_1970(record.asked);
  span.answered = since_1970(record.answered);
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
    spans.swap(waiting_);
    size_t at = 0;
    while (at < spans.size() && !(is_stopped_ && has_failed_)) {  // then there is no time to try again
      const size_t n = std::min(kBatch, spans.size() - at);
      lock.unlock();
      send(spans.data() + at, n);
      lock.lock();
      at += n;
    }
    dropped_ += static_cast<int64_t>(spans.size() - at);
  }
  has_ended_ = true;
  changed_.notify_all();
}

bool Traces::count(size_t n, bool is_taken) {
  const std::lock_guard<std::mutex> lock(mutex_);
  (is_taken ? sent_ : dropped_) += static_cast<int64_t>(n);
  const bool is_first = !is_taken && !has_failed_;
  has_failed_ = !is_taken;
  return is_first;  // told once, until it takes them again
}

void Traces::send(const Span* spans, size_t n) try {
  Expected<int> status = 0;
  try {
    Headers headers = target_.headers;
    headers.emplace_back("Content-Type", "application/json");
    status = post(target_.url, headers, target_.trusted, otlp_json(spans, n, target_.service), kTimeout);
  } catch (const std::exception& error) {
    status = Failure{Status::kInternal, error.what()};
  }
  if (!count(n, status && *status / 100 == 2)) return;
  const std::string why = status ? "status " + std::to_string(*status) : status.error().message;
  log_->write(LogLevel::kWarning, "traces", "the collector takes no traces (" + why + "): they are left out",
              {{"host", target_.url.host}, {"port", target_.url.port}});
} catch (const std::exception&) {  // no memory for a line of the log either
}

}  // namespace recblr::server
