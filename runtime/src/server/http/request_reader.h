// Makes requests of the bytes of a connection, without the connection.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http/message.h"
#include "server/http/unpacker.h"

namespace recblr::server {

// Why a request is not read: the connection cannot be used any more.
struct Refusal {
  int status = 0;
  std::string_view reason;  // static, for RequestRecord
  std::string message;
};

// Reads one request after the other. What could be read in two ways is refused, so that nobody smuggles requests past a
// proxy: Content-Length twice or beside Transfer-Encoding, other encodings than chunked, bare CR or LF, folded fields.
class RequestReader {
 public:
  enum class State {
    kHead,      // read() needs more, if it took all it can
    kHeadRead,  // call keep_body() or drop_body()
    kBody,      // read() needs more
    kPacked,    // call unpack()
    kDone,      // request() is whole
    kRefused,   // refusal() says why
  };

  RequestReader(int64_t max_header_bytes, int64_t max_body_bytes);
  ~RequestReader();

  // How many bytes of `data` it took. What it left must be there again at the next call, with what follows it.
  size_t read(std::string_view data);
  void keep_body();
  // Its bytes are read and thrown away.
  void drop_body();
  // Another `step` bytes of the body.
  void unpack(size_t step);
  // For a reason of the caller's; lets go of the body.
  void refuse(int status, std::string_view reason, std::string message);
  // Forgets the request and begins the next.
  void next();

  State state() const { return state_; }
  // From kHeadRead on. May be moved from when it is whole.
  Request& request() { return request_; }
  const std::string& raw_path() const { return raw_path_; }
  const std::string& method_name() const { return method_name_; }
  bool keep_alive() const { return keep_alive_; }
  bool is_http_1_0() const { return http_1_0_; }
  bool expects_continue() const { return expects_continue_; }
  bool has_body() const { return chunked_ || content_length_ > 0; }
  // -1: unknown
  int64_t content_length() const { return chunked_ ? -1 : content_length_; }
  // Of the body, as it came.
  int64_t body_bytes() const { return body_bytes_; }
  // Of the body, as it is held: packed, unpacked or both.
  int64_t held_bytes() const;
  const Refusal& refusal() const { return refusal_; }

 private:
  class Parser;

  size_t read_head(std::string_view data);
  size_t read_body(std::string_view data);
  // Where the head ends, 0 where it does not yet.
  size_t find_head_end(std::string_view data);
  bool check_first_line(std::string_view line);
  void on_target(std::string_view target);
  void on_field(std::string_view name, std::string_view value);
  void check_head();
  void on_chunk(uint64_t size);
  void on_body(std::string_view piece);
  void refuse_long_body();
  void whole_body_read();

  const size_t max_header_bytes_;
  const int64_t max_body_bytes_;
  std::unique_ptr<std::optional<Parser>> parser_;
  std::unique_ptr<Unpacker> unpacker_;
  State state_ = State::kHead;
  Refusal refusal_;

  size_t line_begin_ = 0, searched_ = 0;  // of the head, for lines that come in pieces
  bool first_line_read_ = false;

  Request request_;
  std::string raw_path_, method_name_;
  int64_t content_length_ = 0, body_bytes_ = 0;
  int n_hosts_ = 0, n_content_lengths_ = 0, n_transfer_encodings_ = 0;
  bool keep_alive_ = false, http_1_0_ = false, expects_continue_ = false, chunked_ = false, packed_ = false;
  bool dropped_ = false;
};

}  // namespace recblr::server
