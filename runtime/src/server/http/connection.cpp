#include "server/http/connection.h"

#include <poll.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <exception>
#include <functional>

#include "server/http/admission.h"
#include "server/http/request_id.h"

namespace recblr::server {
namespace {

constexpr size_t kRoom = 8 * 1024;            // for a read, and kept while idle
constexpr size_t kRoomForBodies = 64 * 1024;  // for bodies larger than that
constexpr size_t kPipelined = 64 * 1024;      // bytes taken from a client whose request is being answered
constexpr size_t kUnpackStep = 256 * 1024;
constexpr size_t kOneRecord = 16 * 1024;  // of TLS
constexpr int kTurns = 16;                // requests of one connection before others' turn
constexpr int64_t kDroppedBody = 64 * 1024;
constexpr double kDiscardTimeout = 10, kGoodbyeTimeout = 1, kTooManyTimeout = 2, kDrainGrace = 0.5;
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

Reply too_many_connections() {
  return error_reply(503, "there are as many connections as may be at once: try again later");
}

}  // namespace

Connection::Connection(std::shared_ptr<Loop> loop, Stream::Socket socket, boost::asio::ssl::context* tls, bool is_unix,
                       bool too_many)
    : loop_(std::move(loop)),
      state_(loop_->state()),
      limits_(state_.options.limits),
      stream_(std::move(socket), tls),
      is_unix_(is_unix),
      too_many_(too_many),
      reader_(limits_.max_header_bytes, limits_.max_body_bytes),
      body_(&state_.body_bytes, 0) {}

template <typename Step>
void Connection::guarded(const Step& step) {
  try {
    step();
  } catch (const std::exception& error) {
    unanswered_ = {500, "internal"};
    close();
    if (state_.options.warn) state_.options.warn(std::string("a connection failed and is closed: ") + error.what());
  }
}

template <typename Member>
auto Connection::then(Member member) {
  return [self = shared_from_this(), member](const auto&... results) {
    self->guarded([&] { std::invoke(member, *self, results...); });
  };
}

// ---- Beginning and end ----

void Connection::start() {
  guarded([this] {
    if (!stream_.has_tls()) {
      wait_for_request();
      return run();
    }
    phase_ = Phase::kHandshake;
    set_deadline(state_.draining ? kDrainGrace : limits_.header_timeout);
    stream_.handshake(then(&Connection::on_handshake));
  });
}

void Connection::on_handshake(const ErrorCode& ec) {
  if (phase_ != Phase::kHandshake) return;
  if (ec) return close();
  wait_for_request();
  run();
}

void Connection::wait_for_request() {
  phase_ = Phase::kReading;
  began_ = unread_ = last_reply_ = false;
  set_deadline(state_.draining ? kDrainGrace : too_many_ ? kTooManyTimeout : limits_.keep_alive);
}

void Connection::drain() {
  if (is_idle() || phase_ == Phase::kHandshake) deadline_ = std::min(deadline_, in_seconds(kDrainGrace));
}

void Connection::expire() {
  if (is_lost_) unanswered_ = {500, "internal"};
  if (phase_ != Phase::kReading || (is_idle() && !too_many_)) return close();
  guarded([this] {
    if (too_many_) {
      refuse(too_many_connections(), "overloaded");
    } else {
      refuse(error_reply(408, "the request took too long to arrive: send it faster"), "deadline");
    }
  });
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  const Phase before = std::exchange(phase_, Phase::kClosed);
  if ((before == Phase::kReading || before == Phase::kInviting) && began_) {
    record_.request_bytes = reader_.body_bytes();
    finish_unanswered(&record_);
  }
  deadline_ = Clock::time_point::max();
  stream_.close();
  body_.resize(0);
  loop_->remove(this);
  if (before != Phase::kAnswering) return;
  if (const auto exchange = exchange_.lock()) exchange->leave();
}

void Connection::drop() {
  unanswered_ = {503, "closed"};
  close();
}

void Connection::begin_close() {
  char more = 0;
  const bool all_read =
      !unread_ && input_.empty() && (stream_.has_tls() || ::recv(stream_.fd(), &more, 1, MSG_PEEK | MSG_DONTWAIT) <= 0);
  if (all_read) return stream_.has_tls() && !ended_ ? say_goodbye() : close();
  // Closed now, the system would answer what still comes with a reset, which takes the reply from the client.
  if (!stream_.has_tls()) stream_.end_sending();
  phase_ = Phase::kDiscarding;
  set_deadline(too_many_ ? kTooManyTimeout : kDiscardTimeout);
  if (ended_) return close();
  input_.take(input_.content().size());
  discard();
}

void Connection::discard() {
  discarded_ += static_cast<int64_t>(input_.content().size());
  input_.take(input_.content().size());
  if (discarded_ > std::max<int64_t>(2 * limits_.max_body_bytes, 1 << 20)) return close();
  read_more();
}

void Connection::say_goodbye() {
  phase_ = Phase::kGoodbye;
  set_deadline(kGoodbyeTimeout);
  if (reading_) return stream_.cancel();  // on_read() then comes here again
  stream_.say_goodbye(then(&Connection::on_goodbye));
}

// ---- Reading ----

void Connection::run() {
  for (int turn = 0; phase_ == Phase::kReading; ++turn) {
    if (turn == kTurns) return run_later();
    if (!read_request()) return;
    answer_request();
  }
}

void Connection::run_later() {
  if (std::exchange(run_posted_, true)) return;
  loop_->post([self = shared_from_this()] {
    self->run_posted_ = false;
    self->guarded([&] { self->run(); });
  });
}

bool Connection::read_request() {
  while (phase_ == Phase::kReading) {
    switch (reader_.state()) {
      case RequestReader::State::kHead:
      case RequestReader::State::kBody:
        if (take_input()) break;
        if (ended_) {
          close();
        } else {
          read_more();
        }
        return false;
      case RequestReader::State::kHeadRead:
        head_read();
        break;
      case RequestReader::State::kPacked:
        deadline_ = Clock::time_point::max();
        reader_.unpack(kUnpackStep);
        count_body();
        if (reader_.state() != RequestReader::State::kPacked) break;
        run_later();
        return false;
      case RequestReader::State::kDone:
        return true;
      case RequestReader::State::kRefused: {
        const Refusal& refusal = reader_.refusal();
        refuse(error_reply(refusal.status, refusal.message), refusal.reason);
        return false;
      }
    }
  }
  return false;
}

// Whether that led on.
bool Connection::take_input() {
  if (input_.empty()) return false;
  const RequestReader::State before = reader_.state();
  input_.take(reader_.read(input_.content()));
  if (before == RequestReader::State::kBody) count_body();
  if (!began_ && (reader_.state() != before || !input_.empty())) {
    began_ = true;
    record_ = RequestRecord();
    record_.method = name_of(Method::kOther);
    set_deadline(limits_.header_timeout);
  }
  return reader_.state() != before;
}

void Connection::count_body() {
  body_.resize(reader_.held_bytes());
  // One that is refused for another reason is no longer held.
  if (reader_.held_bytes() == 0 || state_.body_bytes <= state_.max_body_bytes) return;
  reader_.refuse(503, "overloaded", "the bodies of requests take as much memory as they may: try again later");
  body_.resize(0);
}

void Connection::read_more() {
  if (reading_ || phase_ == Phase::kClosed) return;
  const bool in_body = reader_.state() == RequestReader::State::kBody || phase_ == Phase::kDiscarding;
  const int64_t length = reader_.content_length();
  size_t size = 0;
  const bool is_large = in_body && (length < 0 || length > static_cast<int64_t>(kRoom));
  char* const room = input_.room(is_large ? kRoomForBodies : kRoom, &size);
  reading_ = true;
  stream_.read_some(boost::asio::buffer(room, size), then(&Connection::on_read));
}

void Connection::on_read(const ErrorCode& ec, size_t n) {
  reading_ = false;
  if (phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kGoodbye) return say_goodbye();
  input_.added(n);
  if (ec) {
    if (ec != boost::asio::error::eof) return close();
    return on_end();
  }
  if (phase_ == Phase::kReading) return run();
  if (phase_ == Phase::kDiscarding) return discard();
  if (phase_ == Phase::kAnswering && input_.content().size() < kPipelined) read_more();
}

void Connection::on_end() {
  ended_ = true;
  if (phase_ == Phase::kReading) return run();
  if (phase_ == Phase::kDiscarding) return close();
  if (phase_ == Phase::kAnswering) watch_for_reset();
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

// ---- Answering ----

void Connection::head_read() {
  const Request& request = reader_.request();
  const std::string_view id = request.header("X-Request-Id");
  record_ = RequestRecord();
  record_.method = name_of(request.method);
  record_.request_id = is_sane_request_id(id) ? std::string(id) : new_request_id();
  record_.traceparent = request.header("traceparent");
  set_deadline(limits_.body_timeout);
  const Admission admission = admit(state_, reader_);
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

void Connection::send(Reply reply, RequestRecord record) {
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
