// A bundle's manifest.json: what the bundle says of itself, and the size and hash of every other file in it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace recblr {

struct FileEntry {
  std::string sha256;  // 64 hex digits
  int64_t bytes;
};

// Where a weight is: float32, little-endian, row-major, in one piece.
struct WeightPlace {
  std::string file;  // empty: all zeros, in no file
  int64_t offset;    // of its first byte
  std::vector<int64_t> shape;
  int64_t count() const;  // of numbers
};

struct Manifest {
  std::string created, fingerprint, precision;
  int64_t state_size, n_items, max_k, dim;
  int64_t n_layers;     // 0 where the manifest's model does not say
  double norm_epsilon;  // of all layer norms
  std::map<std::string, FileEntry> files;
  std::map<std::string, WeightPlace> weights;  // by the parameter's name in PyTorch, such as "embedding.weight"
  std::string json;                            // the whole manifest, as it is in the file
};

// Parses and checks a manifest: JSON, format, format version, checksum (sha256 of the canonical JSON without the
// checksum, as recblr.runtime.bundle.manifest writes it), types of all fields, plain file names, the files that every
// bundle has, and that every weight lies within its listed file. `path` is for messages. Throws Error(kBundle) with the
// texts that Python's `read_manifest` had.
Manifest parse_manifest(std::string_view json, const std::string& path);

}  // namespace recblr
