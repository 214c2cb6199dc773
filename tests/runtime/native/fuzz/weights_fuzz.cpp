// The weights table of a manifest: an Error, or weights that lie within their files.
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "bundle/manifest.h"
#include "bundle/sha256.h"

namespace {

constexpr int64_t kModelBytes = 4096, kDataBytes = int64_t{5} << 32, kOtherBytes = 3;

std::string file(const std::string& name, int64_t bytes) {
  return "\"" + name + "\": {\"sha256\": \"" + std::string(64, '0') + "\", \"bytes\": " + std::to_string(bytes) + "}";
}

const std::string kBefore =
    "{\"format\": \"recblr-bundle\", \"format_version\": 2, \"created\": \"\", \"fingerprint\": \"\", \"precision\": "
    "\"fp32\", \"model\": {\"dim\": 4, \"norm_epsilon\": 1e-12}, \"state_size\": 5, \"n_items\": 9, \"max_k\": 8, "
    "\"onnx\": {}, \"versions\": {}, \"parity\": {}, \"metrics\": {}, \"data\": {}, \"files\": {" +
    file("model.onnx", kModelBytes) + ", " + file("model.onnx.data", kDataBytes) + ", " +
    file("items.json", kOtherBytes) + ", " + file("initial_state.npy", kOtherBytes) +
    "}, \"weights\": {\"embedding.weight\": {\"zeros\": true, \"shape\": [10, 4], \"dtype\": \"float32\"}, ";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string body = kBefore + std::string(reinterpret_cast<const char*>(data), size) + "},\n  ";
  const std::string text = body + "\"checksum\": \"" + recblr::sha256_of(body) + "\"\n}\n";
  try {
    const recblr::Manifest manifest = recblr::parse_manifest(text, "manifest.json");
    for (const auto& [name, place] : manifest.weights) {
      int64_t count = 1;
      for (const int64_t length : place.shape) {
        if (length < 1 || __builtin_mul_overflow(count, length, &count)) abort();
      }
      if (count != place.count() || count > INT64_MAX / 4) abort();
      if (place.file.empty()) continue;
      int64_t end = 0;
      if (place.offset < 0 || __builtin_add_overflow(place.offset, 4 * count, &end)) abort();
      if (end > manifest.files.at(place.file).bytes) abort();
    }
  } catch (const recblr::Error& error) {
    if (error.code() != recblr::Code::kBundle) abort();
  }
  return 0;
}
