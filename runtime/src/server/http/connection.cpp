#include "server/http/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>

#include "server/http/admission.h"

namespace recblr::server {
namespace {

constexpr size_t kRoomForBodies = 64 * 1024;  // for bodies larger than kRoom
constexpr size_t kUnpackStep = 64 * 1024;
constexpr int kTurns = 16;  // requests of one connection before others' turn
constexpr double kDiscardTimeout = 10, kShortDiscardTimeout = 2, kGoodbyeTimeout = 1, kTooManyTimeout = 2,
                 kDrainGrace = 0.5;

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
      body_(&state_.body_bytes, 0),
      reply_(&state_.body_bytes, 0) {}

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
  if (waits_for_head() || phase_ == Phase::kHandshake) deadline_ = std::min(deadline_, in_seconds(kDrainGrace));
}

void Connection::expire() {
  if (is_lost_) unanswered_ = {500, "internal"};
  if (phase_ != Phase::kReading || (is_idle() && !too_many_)) return close();
  if (state_.draining && waits_for_head()) return drop();
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
  reply_.resize(0);
  if (before == Phase::kAnswering) {
    if (const auto exchange = exchange_.lock()) exchange->leave();
  }
  loop_->remove(this);  // the last: who sees that it is gone sees that its handler was told
}

bool Connection::is_under_way() const {
  return (phase_ == Phase::kReading && !waits_for_head()) || phase_ == Phase::kInviting ||
         phase_ == Phase::kAnswering || phase_ == Phase::kWriting;
}

void Connection::drop() {
  if (is_under_way()) ++state_.dropped;
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
  set_deadline(too_many_ || state_.draining ? kShortDiscardTimeout : kDiscardTimeout);
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
    set_deadline(state_.draining ? kDrainGrace : limits_.header_timeout);
  }
  return reader_.state() != before;
}

void Connection::count_body() {
  body_.resize(reader_.held_bytes());
  // One that is refused for another reason is no longer held.
  if (reader_.held_bytes() == 0 || state_.body_bytes <= state_.max_bodies_bytes) return;
  reader_.refuse(503, "overloaded", kBodiesTakeAll);
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

}  // namespace recblr::server
