#include "bundle/npy.h"

#include <cstring>
#include <optional>

#include "base/error.h"
#include "bundle/file.h"

namespace recblr {

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kLongestHeader = 65536;
constexpr size_t kLongestValue = 60;

struct Header {
  std::string type, shape;  // as Python shows them: "float32", "(5,)"
  std::string_view data;
};

uint32_t little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string type_name(const std::string& descr) {
  for (auto [code, name] : {std::pair{"<f4", "float32"}, {"<f8", "float64"}, {"<f2", "float16"}, {"<i8", "int64"}}) {
    if (descr == code) return name;
  }
  return descr;
}

// What the header, a literal of Python's, has between a beginning and the next end.
std::optional<std::string> between(std::string_view text, std::string_view begin, char end) {
  const size_t found = text.find(begin);
  if (found == std::string_view::npos) return std::nullopt;
  text.remove_prefix(found + begin.size());
  const size_t size = text.find(end);
  if (size > kLongestValue) return std::nullopt;
  return std::string(text.substr(0, size));
}

std::optional<Header> read_header(std::string_view content) {
  if (content.size() < 12 || content.substr(0, kMagic.size()) != kMagic) return std::nullopt;
  const size_t size_bytes = content[kMagic.size()] == 1 ? 2 : 4;  // by the format's version
  const size_t start = kMagic.size() + 2 + size_bytes;
  const size_t size = little_endian(content.substr(start - size_bytes, size_bytes));
  if (size > kLongestHeader || content.size() < start + size) return std::nullopt;
  const std::string_view text = content.substr(start, size);
  const auto descr = between(text, "'descr': '", '\''), shape = between(text, "'shape': (", ')');
  if (!descr || !shape) return std::nullopt;
  return Header{type_name(*descr), "(" + *shape + ")", content.substr(start + size)};
}

}  // namespace

std::vector<float> parse_npy(std::string_view content, int64_t size, const std::string& path) {
  const std::optional<Header> header = read_header(content);
  if (!header) refuse(Code::kBundle, path + " is no NumPy array: " + kCopyAgain);
  const std::string shape = "(" + std::to_string(size) + ",)";
  if (header->type != "float32" || header->shape != shape) {
    refuse(Code::kBundle,
           path + " is " + header->type + " " + header->shape + ", not float32 " + shape + ": " + kCopyAgain);
  }
  if (header->data.size() / sizeof(float) < static_cast<uint64_t>(size)) {
    refuse(Code::kBundle, path + " is no NumPy array: " + kCopyAgain);  // it ends early
  }
  std::vector<float> values(static_cast<size_t>(size));
  std::memcpy(values.data(), header->data.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace recblr
