// One client's connection: reads a request, has it answered, writes the reply, reads the next.
#pragma once

#include <atomic>
#include <boost/system/error_code.hpp>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/http/exchange_impl.h"
#include "server/http/input_buffer.h"
#include "server/http/loop.h"
#include "server/http/output.h"
#include "server/http/reply_head.h"
#include "server/http/request_reader.h"
#include "server/http/share.h"
#include "server/http/stream.h"

namespace recblr::server {

// All but answer() and lose() runs in the loop's thread. What fails within it, as where there is no memory, closes it.
class Connection final : public ReplySink, public std::enable_shared_from_this<Connection> {
 public:
  // Without TLS where `tls` is nullptr. With `too_many` its first request is answered 503.
  Connection(std::shared_ptr<Loop> loop, Stream::Socket socket, boost::asio::ssl::context* tls, bool is_unix,
             bool too_many);

  void start();
  // When expire() is to be called.
  Clock::time_point deadline() const { return is_lost_ ? Clock::time_point::min() : deadline_; }
  void expire();
  // It waits for a request that has not begun.
  bool is_idle() const { return phase_ == Phase::kReading && !began_; }
  // Once `draining` is set.
  void drain();
  void close();
  // Closes it though it may be answering, as the server ends, and counts what was under way.
  void drop();

  void answer(Reply reply, RequestRecord record) noexcept override;
  void lose() noexcept override { is_lost_ = true; }

 private:
  enum class Phase {
    kHandshake,
    kReading,     // a request, or waiting for one
    kInviting,    // writes "100 Continue"
    kAnswering,   // a handler has the request
    kWriting,     // the reply
    kDiscarding,  // what the client still sends after the last reply
    kGoodbye,     // of TLS
    kClosed,
  };
  using ErrorCode = boost::system::error_code;
  static constexpr size_t kRoom = 8 * 1024;  // for a read, and kept while idle
  static constexpr const char* kBodiesTakeAll =
      "the bodies of requests and replies take as much memory as they may: try again later";
  static constexpr size_t kPipelined = 64 * 1024;  // bytes taken from a client whose request is being answered
  // What is told of a request that gets no reply.
  struct Unanswered {
    int status;
    std::string_view reason;
  };

  template <typename Step>
  void guarded(const Step& step);
  // Calls a member, guarded, with what an operation gives.
  template <typename Member>
  auto then(Member member);

  // Goes as far as it can without waiting.
  void run();
  void run_later();
  // Nothing of a request is there but, at most, a part of its head.
  bool waits_for_head() const { return phase_ == Phase::kReading && reader_.state() == RequestReader::State::kHead; }
  // The head of a request is read, and the last byte of its reply is not written.
  bool is_under_way() const;
  // Whether there is a whole request.
  bool read_request();
  bool take_input();
  void read_more();
  void on_handshake(const ErrorCode& ec);
  void on_read(const ErrorCode& ec, size_t n);
  void on_end();
  void watch_for_reset();
  void on_reset(const ErrorCode& ec);
  // Counts what the body takes, and refuses it where all together take too much.
  void count_body();

  void head_read();
  void invite_body();
  void on_invited(const ErrorCode& ec, size_t n);
  void answer_request();
  void call_handler();
  void answered(Reply reply, RequestRecord record);

  // The last reply, though the request was not read to its end.
  void refuse(Reply reply, std::string_view reason);
  void send(Reply reply, RequestRecord record);
  // Counts what a long reply takes until its client has read it, and puts a refusal in its place where that is too
  // much.
  void count_reply(Reply* reply, RequestRecord* record);
  void write();
  void on_written(const ErrorCode& ec, size_t n);
  void on_writable(const ErrorCode& ec) { on_written(ec, 0); }
  void reply_written();
  void finish_record(RequestRecord* record, int status, int64_t bytes);
  void finish_unanswered(RequestRecord* record);

  void begin_close();
  void discard();
  void say_goodbye();
  void on_goodbye(const ErrorCode&) { close(); }
  void set_deadline(double seconds) { deadline_ = in_seconds(seconds); }
  void wait_for_request();

  const std::shared_ptr<Loop> loop_;  // goes last
  ServerState& state_;
  const HttpLimits& limits_;
  Stream stream_;
  const bool is_unix_, too_many_;

  Phase phase_ = Phase::kReading;
  Clock::time_point deadline_ = Clock::time_point::max();
  InputBuffer input_;
  RequestReader reader_;
  Output output_;
  int64_t discarded_ = 0;
  bool reading_ = false;  // a read is under way
  bool ended_ = false;    // the client sends no more
  bool probed_ = false;   // whether it is there
  bool run_posted_ = false;
  bool began_ = false;       // a byte of the request has come
  bool unread_ = false;      // the request is not read to its end
  bool last_reply_ = false;  // the connection is closed after it
  bool in_handler_ = false;
  std::atomic<bool> is_lost_{false};  // the reply
  Unanswered unanswered_{499, "client_gone"};
  Share body_;   // of the request, in state_.body_bytes
  Share reply_;  // the body of a long one, there, too

  const Route* route_ = nullptr;
  RequestRecord record_;
  std::optional<Reply> objection_;                             // the reply, once the body is thrown away
  std::weak_ptr<ExchangeImpl> exchange_;                       // that is being answered
  std::optional<std::pair<Reply, RequestRecord>> reply_made_;  // by the handler before it returned
};

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

}  // namespace recblr::server
