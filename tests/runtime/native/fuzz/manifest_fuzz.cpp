// A manifest, as it is and under a right checksum: an Error, or one whose weights lie within its files.
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "bundle/manifest.h"
#include "bundle/sha256.h"

namespace {

void check(const std::string& text) {
  try {
    const recblr::Manifest manifest = recblr::parse_manifest(text, "manifest.json");
    for (const auto& [name, place] : manifest.weights) {
      if (place.count() < 1) abort();
      if (place.file.empty()) continue;
      if (place.offset < 0 || place.offset + 4 * place.count() > manifest.files.at(place.file).bytes) abort();
    }
    if (manifest.dim < 1 || manifest.dim > manifest.state_size || manifest.max_k < 1) abort();
    if (manifest.weights.at(recblr::kEmbedding).count() != (manifest.n_items + 1) * manifest.dim) abort();
  } catch (const recblr::Error& error) {
    if (error.code() != recblr::Code::kBundle || std::string(error.what()).find('\n') != std::string::npos) abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check(text);
  check(text + "\"checksum\": \"" + recblr::sha256_of(text) + "\"\n}\n");
  return 0;
}
