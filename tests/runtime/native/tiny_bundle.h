// Writes a small bundle, as recblr-export would, for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace recblr::tests {

struct TinyBundle {
  int64_t n_items = 6;
  int64_t dim = 4;
  int64_t width = 4;  // of the recurrent layer; its convolution has 3 taps
  int64_t max_k = 3;
  bool has_string_ids = false;  // "item-1", "item-2", ... or 10, 20, ...
  std::vector<int64_t> counts;  // [n_items]; empty: 1, 2, 3, ...
  unsigned seed = 0;            // of the weights
  int64_t state_size() const { return 3 * width + dim; }
};

// A folder in the system's temporary one, which goes with this object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void write_bundle(const TinyBundle& bundle, const std::string& folder);

}  // namespace recblr::tests
