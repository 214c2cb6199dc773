#include "bundle/bundle.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "bundle/npy.h"

namespace recblr {

namespace {

bool exists(const std::string& path) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0;
}

bool is_of_kind(const std::string& path, mode_t kind) {
  struct stat status{};
  return stat(path.c_str(), &status) == 0 && (status.st_mode & S_IFMT) == kind;
}

std::string without_last_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.empty() ? "." : path;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : without_last_slashes(path.substr(0, slash + 1));
}

std::string joined(const std::string& folder, const std::string& name) {
  if (folder == ".") return name;
  return folder.back() == '/' ? folder + name : folder + "/" + name;
}

void check_size(const std::string& path, const FileEntry& entry) {
  const int64_t size = size_of_file(path);
  if (size != entry.bytes) {
    refuse(Code::kBundle,
           path + " has " + grouped(size) + " bytes, its manifest says " + grouped(entry.bytes) + ": " + kCopyAgain);
  }
}

void check_hash(const std::string& path, const std::string& sha256, const FileEntry& entry) {
  if (sha256 != entry.sha256) {
    refuse(Code::kBundle, path + " was altered, its sha256 is " + sha256.substr(0, 12) + "... and its manifest says " +
                              entry.sha256.substr(0, 12) + "...: " + kCopyAgain);
  }
}

std::vector<float> read_initial_state(std::string_view content, const Manifest& manifest, const std::string& path) {
  std::vector<float> state = parse_npy(content, manifest.state_size, path);
  if (!std::all_of(state.begin(), state.end(), [](float value) { return std::isfinite(value); })) {
    refuse(Code::kBundle, path + " holds values that are not finite: " + kCopyAgain);
  }
  if (!std::all_of(state.end() - manifest.dim, state.end(), [](float value) { return value == 0; })) {
    refuse(Code::kBundle, path + " ends in a query vector that is not zero, as a new user's is: export it again");
  }
  return state;
}

}  // namespace

std::shared_ptr<const Bundle> Bundle::open(const std::string& given) {
  const std::string path = without_last_slashes(given);
  const bool is_file = is_of_kind(path, S_IFREG);
  const std::string folder = is_file ? folder_of(path) : path;
  const std::string manifest_path = joined(folder, kManifestFile);
  const std::string advice = ": give the folder that recblr-export wrote";
  if (!is_of_kind(folder, S_IFDIR)) {
    refuse(Code::kBundle,
           path + (exists(path) ? " is neither a folder nor a file of a bundle" : " does not exist") + advice);
  }
  if (!exists(manifest_path)) {
    refuse(Code::kBundle, is_file ? path + " is no bundle, nor a file of one" + advice
                                  : path + " is no bundle, it holds no " + kManifestFile + advice);
  }
  std::shared_ptr<Bundle> bundle(new Bundle);
  bundle->path_ = folder;
  bundle->manifest_ = parse_manifest(FileCopy::in_memory(manifest_path).content(), manifest_path);
  const Manifest& manifest = bundle->manifest_;
  const std::string name = is_file ? path.substr(path.rfind('/') + 1) : kManifestFile;
  if (name != kManifestFile && manifest.files.count(name) == 0) {
    refuse(Code::kBundle, path + " is not one of the files of the bundle beside it: give its folder, " + folder);
  }
  bundle->read_files();
  return bundle;
}

void Bundle::read_files() {
  std::set<std::string> with_weights;
  for (const auto& [name, place] : manifest_.weights) with_weights.insert(place.file);
  for (const auto& [name, entry] : manifest_.files) check_size(joined(path_, name), entry);  // before any is read
  for (const auto& [name, entry] : manifest_.files) {
    const std::string path = joined(path_, name);
    if (with_weights.count(name) != 0) {
      const FileCopy& copy = weight_files_.emplace(name, FileCopy::of(path)).first->second;
      check_hash(path, copy.sha256(), entry);
      if (static_cast<int64_t>(copy.content().size()) != entry.bytes) {  // by which weights are known to lie within it
        refuse(Code::kBundle, path + " changed while it was read: open the bundle once it is written");
      }
    }
    if (name == kItemsFile || name == kInitialStateFile) {
      const FileCopy content = FileCopy::in_memory(path);
      check_hash(path, content.sha256(), entry);
      if (name == kItemsFile) {
        vocabulary_ = Vocabulary::parse(content.content(), path);
      } else {
        initial_state_ = read_initial_state(content.content(), manifest_, path);
      }
    } else if (with_weights.count(name) == 0) {
      check_hash(path, sha256_of_file(path), entry);
    }
  }
  if (vocabulary_->n_items() != manifest_.n_items) {
    refuse(Code::kBundle, joined(path_, kItemsFile) + " holds " + std::to_string(vocabulary_->n_items()) +
                              " items, its manifest says " + std::to_string(manifest_.n_items) + ": " + kCopyAgain);
  }
}

const void* Bundle::weight(const std::string& name) const {
  const auto found = manifest_.weights.find(name);
  if (found == manifest_.weights.end()) {
    refuse(Code::kBundle, joined(path_, kManifestFile) + " has no weight " + name + ": export the bundle again");
  }
  const WeightPlace& place = found->second;
  return place.file.empty() ? nullptr : weight_files_.at(place.file).content().data() + place.offset;
}

}  // namespace recblr
