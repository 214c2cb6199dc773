// How the requests of a connection are answered.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <exception>

#include "server/http/admission.h"
#include "server/http/connection.h"
#include "server/http/request_id.h"

namespace recblr::server {
namespace {

constexpr size_t kOneRecord = 16 * 1024;  // of TLS
constexpr int64_t kDroppedBody = 64 * 1024;
constexpr size_t kLongReply = 64 * 1024;  // shorter ones are not counted
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string_view reason_of(int status) {
  switch (status) {
    case 401:
    case 403:
      return "unauthorized";
    case 404:
    case 405:
      return "not_found";
    case 408:
    case 504:
      return "deadline";
    case 413:
    case 431:
      return "too_large";
    case 429:
    case 503:
      return "overloaded";
    default:
      return status >= 500 ? "internal" : status >= 400 ? "invalid" : "";
  }
}

}  // namespace

void Connection::head_read() {
  const Request& request = reader_.request();
  const std::string_view id = request.header("X-Request-Id");
  record_ = RequestRecord();
  record_.method = name_of(request.method);
  record_.request_id = is_sane_request_id(id) ? std::string(id) : new_request_id();
  record_.traceparent = request.header("traceparent");
  set_deadline(limits_.body_timeout);
  const Admission admission = admit(state_, reader_, is_unix_);
  route_ = admission.route;
  if (route_ != nullptr) record_.route = route_->pattern;
  objection_ = too_many_ ? too_many_connections() : admission.objection;
  if (!objection_) {
    reader_.keep_body();
    if (reader_.expects_continue() && input_.empty()) invite_body();
    return;
  }
  const int64_t length = reader_.content_length();
  if (!too_many_ && !reader_.expects_continue() && length >= 0 && length <= kDroppedBody) return reader_.drop_body();
  refuse(*std::move(objection_), record_.reason);
}

void Connection::invite_body() {
  if (!stream_.has_tls()) {
    const ssize_t sent = ::send(stream_.fd(), kContinue.data(), kContinue.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(kContinue.size())) close();
    return;
  }
  phase_ = Phase::kInviting;
  stream_.write_some(boost::asio::buffer(kContinue), then(&Connection::on_invited));
}

void Connection::on_invited(const ErrorCode& ec, size_t n) {
  if (phase_ != Phase::kInviting) return;
  if (ec || n != kContinue.size()) return close();
  phase_ = Phase::kReading;
  run();
}

void Connection::answer_request() {
  record_.request_bytes = reader_.body_bytes();
  if (!objection_) objection_ = busy(state_, *route_);  // others may have begun while the body came
  if (objection_) return send(*std::exchange(objection_, std::nullopt), std::move(record_));
  call_handler();
}

void Connection::call_handler() {
  Share body = std::exchange(body_, Share(&state_.body_bytes, 0));
  phase_ = Phase::kAnswering;
  deadline_ = Clock::time_point::max();
  in_handler_ = true;
  {
    const auto exchange =
        std::make_shared<ExchangeImpl>(shared_from_this(), std::move(reader_.request()), std::move(record_),
                                       Share(&state_.concurrent, 1), std::move(body));
    exchange_ = exchange;
    try {
      route_->handler(exchange);
    } catch (const std::exception& error) {
      exchange->fail(error.what());
    } catch (...) {
      exchange->fail("a handler threw something that is no exception");
    }
  }
  in_handler_ = false;
  if (reply_made_) {
    auto [reply, record] = *std::exchange(reply_made_, std::nullopt);
    return answered(std::move(reply), std::move(record));
  }
  if (ended_) return watch_for_reset();
  if (input_.content().size() < kPipelined) read_more();
}

void Connection::answer(Reply reply, RequestRecord record) noexcept {
  if (loop_->is_this_thread() && in_handler_) {
    reply_made_.emplace(std::move(reply), std::move(record));
    return;
  }
  try {
    loop_->post([self = shared_from_this(), reply = std::move(reply), record = std::move(record)]() mutable {
      self->guarded([&] {
        self->answered(std::move(reply), std::move(record));
        self->run();
      });
    });
  } catch (const std::exception&) {
    lose();
  }
}

void Connection::watch_for_reset() {
  pollfd both{stream_.fd(), 0, 0};
  if (stream_.has_tls() || ::poll(&both, 1, 0) > 0) return close();
  stream_.socket().async_wait(Stream::Socket::wait_error, then(&Connection::on_reset));
  if (is_unix_ || reader_.is_http_1_0() || std::exchange(probed_, true)) return;
  const ssize_t sent = ::send(stream_.fd(), kContinue.data(), kContinue.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0 && sent != static_cast<ssize_t>(kContinue.size())) close();  // the reply would come in the middle of it
}

void Connection::on_reset(const ErrorCode& ec) {
  if (!ec && phase_ == Phase::kAnswering) close();
}

void Connection::answered(Reply reply, RequestRecord record) {
  exchange_.reset();
  if (phase_ == Phase::kAnswering) return send(std::move(reply), std::move(record));
  finish_unanswered(&record);
}

// ---- Writing ----

void Connection::refuse(Reply reply, std::string_view reason) {
  last_reply_ = unread_ = true;
  record_.reason = reason;
  record_.request_bytes = reader_.body_bytes();
  if (record_.request_id.empty()) record_.request_id = new_request_id();
  send(std::move(reply), std::move(record_));
}

void Connection::count_reply(Reply* reply, RequestRecord* record) {
  if (reply->body.capacity() < kLongReply) return;
  reply_.resize(static_cast<int64_t>(reply->body.capacity()));
  if (state_.body_bytes <= state_.max_bodies_bytes) return;
  reply_.resize(0);
  *reply = error_reply(503, kBodiesTakeAll);
  record->reason = "overloaded";
}

void Connection::send(Reply reply, RequestRecord record) {
  count_reply(&reply, &record);
  last_reply_ = last_reply_ || too_many_ || !reader_.keep_alive() || state_.draining;
  const KeepAlive keep_alive = last_reply_             ? KeepAlive::kClose
                               : reader_.is_http_1_0() ? KeepAlive::kSaid
                                                       : KeepAlive::kImplied;
  write_head(reply, record.request_id, keep_alive, &output_.head);
  output_.sent = 0;
  output_.body.clear();
  if (record.method != "HEAD" && !has_no_body(reply.status)) {
    if (stream_.has_tls() && output_.head.size() + reply.body.size() <= kOneRecord) {
      output_.head += reply.body;
    } else {
      output_.body = std::move(reply.body);
    }
  }
  const auto bytes = static_cast<int64_t>(output_.head.size() + output_.body.size());
  phase_ = Phase::kWriting;
  write();
  finish_record(&record, reply.status, bytes);
}

void Connection::write() {
  set_deadline(limits_.write_timeout);
  if (stream_.has_tls()) {
    const iovec next = output_.next();
    return stream_.write_some(boost::asio::buffer(next.iov_base, next.iov_len), then(&Connection::on_written));
  }
  if (!output_.send(stream_.fd())) return close();
  if (output_.done()) return reply_written();
  stream_.socket().async_wait(Stream::Socket::wait_write, then(&Connection::on_writable));
}

void Connection::on_written(const ErrorCode& ec, size_t n) {
  if (phase_ != Phase::kWriting) return;
  if (ec) return close();
  output_.sent += n;
  if (n > 0 && output_.done()) {
    reply_written();
  } else {
    write();
  }
  run();
}

void Connection::reply_written() {
  output_.body = std::string();
  reply_.resize(0);
  if (last_reply_) return begin_close();
  reader_.next();
  if (!reading_) input_.shrink(2 * kRoom);
  wait_for_request();
}

void Connection::finish_record(RequestRecord* record, int status, int64_t bytes) {
  record->status = status;
  record->response_bytes = bytes;
  if (record->reason.empty()) record->reason = reason_of(status);
  record->seconds = std::chrono::duration<double>(Clock::now() - record->began).count();
  if (state_.observer != nullptr) state_.observer->finished(*record);
}

void Connection::finish_unanswered(RequestRecord* record) {
  record->reason = unanswered_.reason;
  finish_record(record, unanswered_.status, 0);
}

}  // namespace recblr::server
