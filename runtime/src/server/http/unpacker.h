// Bodies that come packed with gzip or deflate.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace recblr::server {

// Unpacks one body in steps, so that other connections have their turn in between.
class Unpacker {
 public:
  enum class Status { kMore, kDone, kBad };

  // Either format is recognised; gzip may have several members.
  explicit Unpacker(std::string packed);
  ~Unpacker();
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  size_t packed_bytes() const { return packed_.size(); }
  // Appends at most `step` bytes to `out`, of at most as much more of what is packed.
  Status unpack(size_t step, std::string* out);

 private:
  std::string packed_;
  size_t given_ = 0;  // bytes of packed_ that the stream has
  z_stream stream_{};
};

}  // namespace recblr::server
