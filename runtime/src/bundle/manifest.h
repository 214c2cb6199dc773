// A bundle's manifest.json: what the bundle says of itself, and the size and hash of every other file in it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace recblr {

inline constexpr char kManifestFile[] = "manifest.json";
inline constexpr char kModelFile[] = "model.onnx";
inline constexpr char kItemsFile[] = "items.json";
inline constexpr char kInitialStateFile[] = "initial_state.npy";
inline constexpr char kEmbedding[] = "embedding.weight";

struct FileEntry {
  std::string sha256;  // 64 hex digits
  int64_t bytes = 0;
};

// Where a weight is: float32, little-endian, row-major, in one piece.
struct WeightPlace {
  std::string file;            // empty: all zeros, in no file
  int64_t offset = 0;          // of its first byte
  std::vector<int64_t> shape;  // at most 8 sizes, each at least 1
  int64_t count() const;       // of numbers; their bytes fit int64
};

struct Manifest {
  std::string created, fingerprint, precision;
  int64_t state_size = 0, n_items = 0, max_k = 0, dim = 0;
  int64_t n_layers = 0;     // 0 where the manifest's model does not say
  double norm_epsilon = 0;  // of all layer norms
  std::map<std::string, FileEntry> files;
  std::map<std::string, WeightPlace> weights;  // by the parameter's name in PyTorch, such as "embedding.weight"
  std::string json;                            // the whole manifest, as it is in the file
};

// Parses and checks a manifest: JSON, format, format version, checksum (the file's last line but one, of all bytes
// before it), types of all fields, plain file names, the files that every bundle has, that every weight lies within its
// listed file, and that "embedding.weight" has the shape [V + 1, D]. Of the plan's section only the names of its files
// are looked at. `path` is for messages. Throws Error(kBundle).
Manifest parse_manifest(std::string_view json, const std::string& path);

}  // namespace recblr
