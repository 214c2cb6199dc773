#include "server/http/unpacker.h"

#include <algorithm>
#include <new>
#include <utility>

namespace recblr::server {
namespace {

constexpr int kGzipOrZlib = 32 + MAX_WBITS;

}  // namespace

Unpacker::Unpacker(std::string packed) : packed_(std::move(packed)) {
  if (inflateInit2(&stream_, kGzipOrZlib) != Z_OK) throw std::bad_alloc();
}

Unpacker::~Unpacker() { inflateEnd(&stream_); }

Unpacker::Status Unpacker::unpack(size_t step, std::string* out) {
  if (stream_.avail_in == 0) {
    const size_t n = std::min(step, packed_.size() - given_);
    stream_.next_in = reinterpret_cast<Bytef*>(packed_.data() + given_);
    stream_.avail_in = static_cast<uInt>(n);
    given_ += n;
  }
  const bool is_last = given_ == packed_.size();
  const size_t before = out->size();
  out->resize(before + step);
  stream_.next_out = reinterpret_cast<Bytef*>(out->data() + before);
  stream_.avail_out = static_cast<uInt>(step);
  Status status = Status::kMore;
  while (status == Status::kMore && stream_.avail_out > 0 && (stream_.avail_in > 0 || is_last)) {
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      if (stream_.avail_in == 0 && is_last) {
        status = Status::kDone;
      } else if (inflateReset(&stream_) != Z_OK) {  // the next member
        status = Status::kBad;
      }
    } else if (result != Z_OK) {  // Z_BUF_ERROR, too: the body ends early
      status = Status::kBad;
    }
  }
  out->resize(out->size() - stream_.avail_out);
  return status;
}

}  // namespace recblr::server
