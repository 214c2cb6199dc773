// An opened bundle: verified, and independent of its files from then on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/file.h"
#include "bundle/manifest.h"
#include "bundle/vocabulary.h"

namespace recblr {

// Immutable once opened; threads may share it. What a process later writes to the files, or does to the folder, changes
// nothing: the files that hold weights are copied when they are verified (see FileCopy), vocabulary and initial state
// are read into memory.
class Bundle {
 public:
  // Opens a folder, or the bundle that a file belongs to. Throws Error(kBundle): no bundle, another format version,
  // incomplete or altered.
  static std::shared_ptr<const Bundle> open(const std::string& path);

  const std::string& path() const { return path_; }  // the folder
  const Manifest& manifest() const { return manifest_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  // float32 [S], the state of a user of whom nothing is known; its query vector, the last D numbers, is zero.
  const std::vector<float>& initial_state() const { return initial_state_; }

  // Where the numbers of a weight are in memory, at any alignment; nullptr for one that is all zeros. Throws
  // Error(kBundle) where the manifest has none of this name.
  const void* weight(const std::string& name) const;

  int64_t state_size() const { return manifest_.state_size; }
  int64_t n_items() const { return manifest_.n_items; }
  int64_t dim() const { return manifest_.dim; }

 private:
  Bundle() = default;
  void read_files();

  std::string path_;
  Manifest manifest_;
  std::unique_ptr<const Vocabulary> vocabulary_;
  std::vector<float> initial_state_;
  std::map<std::string, FileCopy> weight_files_;
};

}  // namespace recblr
