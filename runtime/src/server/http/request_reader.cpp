#include "server/http/request_reader.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <utility>

#include "server/http/text.h"

namespace recblr::server {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using BeastText = boost::beast::string_view;

constexpr size_t kFirstReservation = 1 << 20;  // more of a body is only reserved as it comes

std::string_view view(BeastText text) { return {text.data(), text.size()}; }

Method method_of(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return Method::kGet;
    case http::verb::head:
      return Method::kHead;
    case http::verb::post:
      return Method::kPost;
    case http::verb::put:
      return Method::kPut;
    case http::verb::delete_:
      return Method::kDelete;
    case http::verb::options:
      return Method::kOptions;
    default:
      return Method::kOther;
  }
}

// Of a target that is a URL; 0 where it is none.
size_t host_begin(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (same_ignoring_case(target.substr(0, scheme.size()), scheme)) return scheme.size();
  }
  return 0;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

// Beast's parser, which splits the head and takes chunks apart; what the fields mean is RequestReader's.
class RequestReader::Parser final : public http::basic_parser<true> {
 public:
  explicit Parser(RequestReader* reader) : reader_(*reader) {
    header_limit(static_cast<uint32_t>(reader->max_header_bytes_) + 1);  // checked before
    body_limit(boost::none);
  }

 private:
  void on_request_impl(http::verb verb, BeastText method, BeastText target, int version, error_code& ec) override {
    reader_.request_.method = method_of(verb);
    reader_.method_name_ = view(method);
    reader_.http_1_0_ = version == 10;
    reader_.on_target(view(target));
    stop_if_refused(ec);
  }
  void on_response_impl(int, BeastText, int, error_code&) override {}
  void on_field_impl(http::field, BeastText name, BeastText value, error_code& ec) override {
    if (is_header_done()) return;  // fields behind the last chunk are no business of ours
    reader_.on_field(view(name), view(value));
    stop_if_refused(ec);
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(BeastText body, error_code& ec) override {
    reader_.on_body(view(body));
    stop_if_refused(ec);
    return body.size();
  }
  void on_chunk_header_impl(uint64_t size, BeastText, error_code& ec) override {
    reader_.on_chunk(size);
    stop_if_refused(ec);
  }
  size_t on_chunk_body_impl(uint64_t, BeastText body, error_code& ec) override {
    reader_.on_body(view(body));
    stop_if_refused(ec);
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

  void stop_if_refused(error_code& ec) const {
    if (reader_.state_ == State::kRefused) ec = http::error::bad_value;
  }

  RequestReader& reader_;
};

RequestReader::RequestReader(int64_t max_header_bytes, int64_t max_body_bytes)
    : max_header_bytes_(static_cast<size_t>(max_header_bytes)),
      max_body_bytes_(max_body_bytes),
      parser_(std::make_unique<std::optional<Parser>>()) {
  next();
}

RequestReader::~RequestReader() = default;

void RequestReader::next() {
  parser_->emplace(this);
  unpacker_.reset();
  state_ = State::kHead;
  line_begin_ = searched_ = 0;
  first_line_read_ = false;
  request_ = Request();
  raw_path_.clear();
  method_name_.clear();
  content_length_ = body_bytes_ = 0;
  n_hosts_ = n_content_lengths_ = n_transfer_encodings_ = 0;
  keep_alive_ = http_1_0_ = expects_continue_ = chunked_ = packed_ = dropped_ = false;
}

void RequestReader::refuse(int status, std::string_view reason, std::string message) {
  if (state_ == State::kRefused) return;
  state_ = State::kRefused;
  keep_alive_ = false;
  request_.body = std::string();
  unpacker_.reset();
  refusal_ = {status, reason, std::move(message)};
}

size_t RequestReader::read(std::string_view data) {
  if (data.empty()) return 0;
  if (state_ == State::kHead) return read_head(data);
  return state_ == State::kBody ? read_body(data) : 0;
}

bool RequestReader::check_first_line(std::string_view line) {
  if (ends_with(line, " HTTP/1.1") || ends_with(line, " HTTP/1.0")) return true;
  refuse(400, "invalid", "the request line does not end with HTTP/1.1: this server speaks HTTP/1.1 only");
  return false;
}

size_t RequestReader::find_head_end(std::string_view data) {
  const unsigned char first = static_cast<unsigned char>(data[0]);
  if (first <= ' ' && first != '\r') {
    refuse(400, "invalid",
           first == 0x16 ? "this is TLS, but the port speaks plain HTTP: ask with http://"
                         : "the request does not begin with a method");
    return 0;
  }
  for (;;) {
    const size_t end = data.find('\n', searched_);
    if (end == std::string_view::npos || end >= max_header_bytes_) {
      searched_ = data.size();
      if (data.size() >= max_header_bytes_) {
        refuse(431, "too_large",
               "the request's header is longer than " + std::to_string(max_header_bytes_) + " bytes: send less");
      }
      return 0;
    }
    if (end == line_begin_ || data[end - 1] != '\r') {
      refuse(400, "invalid", "a line of the header ends with LF alone: end it with CR LF");
      return 0;
    }
    const std::string_view line = data.substr(line_begin_, end - 1 - line_begin_);
    line_begin_ = searched_ = end + 1;
    if (line.empty()) return line_begin_;
    if (!first_line_read_) {
      if (!check_first_line(line)) return 0;
      first_line_read_ = true;
    } else if (line.front() == ' ' || line.front() == '\t') {
      refuse(400, "invalid", "a line of the header begins with a space: send each field on one line");
      return 0;
    }
  }
}

size_t RequestReader::read_head(std::string_view data) {
  size_t skipped = 0;
  // Empty lines before a request are what some clients send behind a body.
  while (line_begin_ == 0 && data.substr(0, 2) == "\r\n") {
    skipped += 2;
    data.remove_prefix(2);
    searched_ = 0;
  }
  const size_t end = data.empty() ? 0 : find_head_end(data);
  if (end == 0) return skipped;
  error_code ec;
  (*parser_)->put(boost::asio::const_buffer(data.data(), end), ec);
  if (state_ != State::kRefused) {
    if (ec || !(*parser_)->is_header_done()) {
      refuse(400, "invalid", "the request's header is not valid HTTP/1.1 (" + ec.message() + ")");
    } else {
      check_head();
    }
  }
  if (state_ != State::kRefused) state_ = State::kHeadRead;
  return skipped + end;
}

void RequestReader::on_target(std::string_view target) {
  if (const size_t host = host_begin(target); host != 0) {  // as proxies are asked: "GET http://host/path"
    const size_t slash = target.find_first_of("/?", host);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  } else if (target.front() != '/' && target != "*") {
    refuse(400, "invalid", "what is asked for does not begin with '/', 'http://' or 'https://'");
    return;
  }
  const size_t mark = target.find('?');
  raw_path_ = target.substr(0, mark);
  if (raw_path_.empty()) raw_path_ = "/";
  if (mark != std::string_view::npos) request_.query = target.substr(mark + 1);
  std::optional<std::string> path = percent_decoded(raw_path_);
  if (!path) {
    refuse(400, "invalid", "the path is not percent-encoded UTF-8: encode each byte as % and two hexadecimal digits");
    return;
  }
  request_.path = *std::move(path);
  request_.headers.reserve(12);
}

void RequestReader::on_field(std::string_view name, std::string_view value) {
  if (same_ignoring_case(name, "Host")) {
    ++n_hosts_;
  } else if (same_ignoring_case(name, "Content-Length")) {
    if (++n_content_lengths_ > 1 || !is_number(value)) {
      refuse(400, "invalid", "Content-Length must be given once, as one number");
      return;
    }
    // Longer ones are beyond any limit; Beast fails for those beyond 64 bits.
    content_length_ = value.size() > 18 ? INT64_MAX : std::stoll(std::string(value));
  } else if (same_ignoring_case(name, "Transfer-Encoding")) {
    chunked_ = true;
    if (++n_transfer_encodings_ > 1 || !same_ignoring_case(value, "chunked")) {
      refuse(400, "invalid", "the only Transfer-Encoding here is \"chunked\", once");
      return;
    }
  } else if (same_ignoring_case(name, "Expect")) {
    if (!same_ignoring_case(value, "100-continue")) {
      refuse(417, "invalid", "the only Expect here is \"100-continue\"");
      return;
    }
    expects_continue_ = true;
  } else if (same_ignoring_case(name, "Content-Encoding") && !same_ignoring_case(value, "identity")) {
    if (packed_ || !(same_ignoring_case(value, "gzip") || same_ignoring_case(value, "x-gzip") ||
                     same_ignoring_case(value, "deflate"))) {
      refuse(415, "invalid", "the Content-Encoding is none of gzip, deflate and identity: send one of them");
      return;
    }
    packed_ = true;
  }
  request_.headers.emplace_back(name, value);
}

void RequestReader::check_head() {
  if (n_transfer_encodings_ > 0 && (n_content_lengths_ > 0 || http_1_0_)) {
    refuse(400, "invalid",
           http_1_0_ ? "HTTP/1.0 has no Transfer-Encoding: give Content-Length"
                     : "there are both Content-Length and Transfer-Encoding: give one of them");
  } else if (n_hosts_ > 1 || (n_hosts_ == 0 && !http_1_0_)) {
    refuse(400, "invalid", n_hosts_ > 1 ? "there is more than one Host: give one" : "there is no Host: give one");
  } else if (content_length_ > max_body_bytes_) {
    refuse_long_body();
  }
  keep_alive_ = state_ != State::kRefused && (*parser_)->keep_alive();
  expects_continue_ = expects_continue_ && !http_1_0_ && has_body();
}

void RequestReader::keep_body() {
  state_ = State::kBody;
  if ((*parser_)->is_done()) return whole_body_read();
  (*parser_)->eager(true);
  if (!chunked_) request_.body.reserve(std::min(static_cast<size_t>(content_length_), kFirstReservation));
}

void RequestReader::drop_body() {
  dropped_ = true;
  keep_body();
}

size_t RequestReader::read_body(std::string_view data) {
  error_code ec;
  const size_t taken = (*parser_)->put(boost::asio::const_buffer(data.data(), data.size()), ec);
  if (state_ == State::kRefused) return taken;
  if (ec && ec != http::error::need_more) {
    refuse(400, "invalid", "the request's body is not valid HTTP/1.1 (" + ec.message() + ")");
  } else if ((*parser_)->is_done()) {
    whole_body_read();
  } else if (data.size() - taken > max_header_bytes_) {
    refuse(431, "too_large", "what comes with a chunk is longer than " + std::to_string(max_header_bytes_) + " bytes");
  }
  return taken;
}

void RequestReader::on_chunk(uint64_t size) {
  if (!dropped_ && size > static_cast<uint64_t>(max_body_bytes_ - body_bytes_)) refuse_long_body();
}

// Within the limit, as chunks and lengths beyond it are refused where they are announced.
void RequestReader::on_body(std::string_view piece) {
  body_bytes_ += static_cast<int64_t>(piece.size());
  if (!dropped_) request_.body += piece;
}

void RequestReader::refuse_long_body() {
  refuse(413, "too_large", "the body is longer than " + std::to_string(max_body_bytes_) + " bytes: send less at once");
}

void RequestReader::whole_body_read() {
  state_ = State::kDone;
  if (!packed_ || dropped_ || request_.body.empty()) return;
  state_ = State::kPacked;
  unpacker_ = std::make_unique<Unpacker>(std::exchange(request_.body, {}));
}

int64_t RequestReader::held_bytes() const {
  return static_cast<int64_t>(request_.body.size() + (unpacker_ != nullptr ? unpacker_->packed_bytes() : 0));
}

void RequestReader::unpack(size_t step) {
  const Unpacker::Status status = unpacker_->unpack(step, &request_.body);
  if (static_cast<int64_t>(request_.body.size()) > max_body_bytes_) {
    refuse(413, "too_large",
           "the body is longer than " + std::to_string(max_body_bytes_) + " bytes when unpacked: send less at once");
  } else if (status == Unpacker::Status::kBad) {
    refuse(400, "invalid", "the body is not what its Content-Encoding says: it cannot be unpacked");
  } else if (status == Unpacker::Status::kDone) {
    state_ = State::kDone;
  }
  if (state_ != State::kPacked) unpacker_.reset();
}

}  // namespace recblr::server
