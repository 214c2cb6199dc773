#include "bundle/manifest.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "bundle/file.h"
#include "bundle/json_text.h"
#include "bundle/sha256.h"

namespace recblr {

namespace {

using nlohmann::json;

constexpr char kFormat[] = "recblr-bundle";
constexpr int64_t kFormatVersion = 2;
constexpr int64_t kMostItems = 2147483646;  // indices are int32
constexpr int64_t kMostLayers = 1024;
constexpr size_t kMostDimensions = 8;

const json kNone;

const json& field(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? kNone : *found;
}

bool is_count(const json& value, int64_t least = 1, int64_t most = INT64_MAX) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned()) {
    const uint64_t count = value.get<uint64_t>();
    return count <= static_cast<uint64_t>(most) && static_cast<int64_t>(count) >= least;
  }
  return value.get<int64_t>() >= least && value.get<int64_t>() <= most;
}

// Reads one manifest; its messages name it.
class Reader {
 public:
  Reader(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  Manifest read() {
    const json content = json::parse(text_.begin(), text_.end(), nullptr, false);
    if (content.is_discarded()) refuse(Code::kBundle, path_ + " is damaged, it holds no JSON: " + kCopyAgain);
    check_version(content);
    check_checksum();
    manifest_.json = text_;
    read_fields(content);
    read_model(content["model"]);
    read_files(content["files"], field(content, "plan"));
    for (const auto& [name, place] : content["weights"].items()) read_weight(name, place);
    check_embedding(field(content["weights"], kEmbedding));
    return std::move(manifest_);
  }

 private:
  [[noreturn]] void refuse_with(const std::string& what) const {
    refuse(Code::kBundle, path_ + ": " + what + ": " + kCopyAgain);
  }

  [[noreturn]] void refuse_malformed(const std::string& name, const json& value) const {
    refuse_with(name + " is missing or malformed (" + shown_json(value) + ")");
  }

  void check_version(const json& content) const {
    if (!content.is_object() || field(content, "format") != kFormat) {
      refuse(Code::kBundle, path_ + " is not a bundle's manifest: give the folder that recblr-export wrote");
    }
    const json& version = field(content, "format_version");
    if (!version.is_number_integer()) refuse_with("format_version is " + shown_json(version) + ", not a number");
    if (version != kFormatVersion) {  // before the checksum, which another version may compute otherwise
      refuse(Code::kBundle, path_ + " has format version " + version.dump() + ", this recblr reads " +
                                std::to_string(kFormatVersion) + ": " +
                                (version > kFormatVersion ? "upgrade recblr" : "export it again"));
    }
  }

  void check_checksum() const {
    const auto ending = [](const std::string& sha256) { return "\"checksum\": \"" + sha256 + "\"\n}\n"; };
    const size_t size = ending(std::string(64, '0')).size();
    const std::string_view body = text_.substr(0, text_.size() - std::min(size, text_.size()));
    if (text_.substr(body.size()) != ending(sha256_of(body))) {
      refuse(Code::kBundle, path_ + " was altered, its checksum does not match: " + kCopyAgain);
    }
  }

  void read_fields(const json& content) {
    for (auto [name, target] : {std::pair{"created", &manifest_.created},
                                {"fingerprint", &manifest_.fingerprint},
                                {"precision", &manifest_.precision}}) {
      const json& value = field(content, name);
      if (!value.is_string()) refuse_malformed(name, value);
      *target = value.get<std::string>();
    }
    for (auto [name, target] : {std::pair{"state_size", &manifest_.state_size},
                                {"n_items", &manifest_.n_items},
                                {"max_k", &manifest_.max_k}}) {
      const json& value = field(content, name);
      if (!is_count(value)) refuse_malformed(name, value);
      *target = value.get<int64_t>();
    }
    if (manifest_.n_items > kMostItems) refuse_malformed("n_items", content["n_items"]);
    for (const char* name : {"model", "weights", "onnx", "versions", "files", "parity", "metrics", "data"}) {
      if (!field(content, name).is_object()) refuse_malformed(name, field(content, name));
    }
    const json& plan = field(content, "plan");
    if (!plan.is_null() && !plan.is_object()) refuse_malformed("plan", plan);
  }

  void read_model(const json& model) {
    const json& dim = field(model, "dim");
    if (!is_count(dim, 1, manifest_.state_size)) {
      refuse_with("model dim is " + shown_json(dim) + " with state_size " + std::to_string(manifest_.state_size));
    }
    manifest_.dim = dim.get<int64_t>();
    const json& epsilon = field(model, "norm_epsilon");
    if (!epsilon.is_number_float() || !(epsilon.get<double>() > 0) || !std::isfinite(epsilon.get<double>())) {
      refuse_malformed("model norm_epsilon", epsilon);
    }
    manifest_.norm_epsilon = epsilon.get<double>();
    const json& layers = field(model, "layers");
    manifest_.n_layers = is_count(layers, 1, kMostLayers) ? layers.get<int64_t>() : 0;
  }

  void read_files(const json& files, const json& plan) {
    std::set<std::string> needed{kModelFile, kItemsFile, kInitialStateFile};
    if (plan.is_object()) {
      for (const char* name : {"file", "plugin_library"}) {
        const json& value = field(plan, name);
        if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
          refuse_malformed(std::string("plan.") + name, value);
        }
        needed.insert(value.get<std::string>());
      }
    }
    std::string missing;
    for (const std::string& name : needed) {
      if (!files.contains(name)) missing += (missing.empty() ? "" : ", ") + name;
    }
    if (!missing.empty()) refuse(Code::kBundle, path_ + " does not list " + missing + ": " + kCopyAgain);
    for (const auto& [name, entry] : files.items()) read_file(name, entry);
  }

  void read_file(const std::string& name, const json& entry) {
    const auto is_word = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
    };
    const auto is_plain = [&](char c) { return is_word(c) || c == '.'; };
    if (name.empty() || !is_word(name[0]) || !std::all_of(name.begin(), name.end(), is_plain)) {
      refuse_with(shown_json(name) + " is not a plain file name");  // no path: a manifest stays in its folder
    }
    const json& sha256 = entry.is_object() ? field(entry, "sha256") : kNone;
    const json& bytes = entry.is_object() ? field(entry, "bytes") : kNone;
    const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    const bool is_hash = sha256.is_string() && sha256.get_ref<const std::string&>().size() == 64;
    if (!is_hash || !is_count(bytes, 0) ||
        !std::all_of(sha256.get_ref<const std::string&>().begin(), sha256.get_ref<const std::string&>().end(),
                     is_digit)) {
      refuse_with("no sha256 and size of " + name);
    }
    manifest_.files[name] = {sha256.get<std::string>(), bytes.get<int64_t>()};
  }

  void read_weight(const std::string& name, const json& entry) {
    WeightPlace place;
    if (!entry.is_object() || field(entry, "dtype") != "float32" || !read_shape(field(entry, "shape"), &place.shape)) {
      refuse_with("the weight " + name + " has no shape, or is not float32");
    }
    if (field(entry, "zeros") != true) {
      const json& file = field(entry, "file");
      const json& offset = field(entry, "offset");
      const auto listed = file.is_string() ? manifest_.files.find(file.get<std::string>()) : manifest_.files.end();
      if (listed == manifest_.files.end()) {
        refuse_with("the weight " + name + " is in the file " + shown_json(file) + ", which is not listed");
      }
      if (!is_count(offset, 0, listed->second.bytes) ||
          !fits(place.shape, (listed->second.bytes - offset.get<int64_t>()) / 4)) {
        refuse_with("the weight " + name + " of shape " + shown_json(entry["shape"]) + " at byte " +
                    shown_json(offset) + " is not within " + listed->first);
      }
      place.file = listed->first;
      place.offset = offset.get<int64_t>();
    }
    manifest_.weights[name] = std::move(place);
  }

  // Whether there are at most so many numbers; without a product that may overflow.
  static bool fits(const std::vector<int64_t>& shape, int64_t most) {
    for (const int64_t size : shape) most /= size;
    return most >= 1;
  }

  static bool read_shape(const json& value, std::vector<int64_t>* shape) {
    if (!value.is_array() || value.size() > kMostDimensions) return false;
    for (const json& size : value) {
      if (!is_count(size)) return false;
      shape->push_back(size.get<int64_t>());
    }
    return fits(*shape, INT64_MAX / 4);
  }

  void check_embedding(const json& entry) const {
    const json shape = entry.is_object() ? field(entry, "shape") : kNone;
    if (shape != json::array({manifest_.n_items + 1, manifest_.dim})) {
      refuse_with(std::string(kEmbedding) + " has shape " + shown_json(shape) + ", not that of " +
                  std::to_string(manifest_.n_items) + " items x " + std::to_string(manifest_.dim));
    }
  }

  std::string_view text_;
  const std::string& path_;
  Manifest manifest_;
};

}  // namespace

int64_t WeightPlace::count() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

Manifest parse_manifest(std::string_view json, const std::string& path) { return Reader(json, path).read(); }

}  // namespace recblr
