#include "tiny_bundle.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <utility>

#include "bundle/sha256.h"

namespace recblr::tests {
namespace {

using nlohmann::ordered_json;

std::string bytes_of(const std::vector<float>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
}

std::string npy_of(const std::vector<float>& numbers) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(numbers.size()) + ",), }";
  while ((header.size() + 11) % 64 != 0) header += ' ';
  header += '\n';
  std::string content("\x93NUMPY\x01\x00", 8);
  content += static_cast<char>(header.size() & 0xff);
  content += static_cast<char>(header.size() >> 8);
  return content + header + bytes_of(numbers);
}

// Weights one after another in a file, and their entries in the manifest.
class WeightFile {
 public:
  explicit WeightFile(unsigned seed) : random_(seed) {}

  void add(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    entries_[name] = {{"file", "model.onnx"}, {"offset", content_.size()}, {"shape", shape}, {"dtype", "float32"}};
    std::vector<float> numbers(static_cast<size_t>(count));
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (float& x : numbers) x = uniform(random_);
    content_ += bytes_of(numbers);
  }
  void add_zeros(const std::string& name, const std::vector<int64_t>& shape) {
    entries_[name] = {{"zeros", true}, {"shape", shape}, {"dtype", "float32"}};
  }
  const std::string& content() const { return content_; }
  const ordered_json& entries() const { return entries_; }

 private:
  std::mt19937 random_;
  std::string content_;
  ordered_json entries_;
};

WeightFile weights_of(const TinyBundle& bundle) {
  const int64_t D = bundle.dim, H = bundle.width, F = 2 * bundle.dim, kTaps = 3;
  WeightFile weights(bundle.seed);
  weights.add("embedding.weight", {bundle.n_items + 1, D});
  weights.add("norm.weight", {D});
  weights.add_zeros("norm.bias", {D});
  const std::string block = "blocks.0.";
  weights.add(block + "recurrent.in_proj.weight", {2 * H, D});
  weights.add(block + "recurrent.conv_weight", {H, kTaps});
  weights.add(block + "recurrent.conv_bias", {H});
  weights.add(block + "recurrent.gates.weight", {2 * H, H});
  weights.add(block + "recurrent.gates.bias", {2 * H});
  weights.add(block + "recurrent.decay", {H});
  weights.add(block + "recurrent.out_proj.weight", {D, H});
  weights.add(block + "recurrent_norm.weight", {D});
  weights.add_zeros(block + "recurrent_norm.bias", {D});
  weights.add(block + "feed_forward.up.weight", {F, D});
  weights.add(block + "feed_forward.up.bias", {F});
  weights.add(block + "feed_forward.down.weight", {D, F});
  weights.add(block + "feed_forward.down.bias", {D});
  weights.add(block + "feed_forward_norm.weight", {D});
  weights.add_zeros(block + "feed_forward_norm.bias", {D});
  return weights;
}

std::string items_of(const TinyBundle& bundle) {
  ordered_json ids = ordered_json::array(), counts = ordered_json::array();
  for (int64_t j = 1; j <= bundle.n_items; ++j) {
    ids.push_back(bundle.has_string_ids ? ordered_json("item-" + std::to_string(j)) : ordered_json(10 * j));
    counts.push_back(bundle.counts.empty() ? j : bundle.counts[static_cast<size_t>(j - 1)]);
  }
  return ordered_json{{"id_type", bundle.has_string_ids ? "string" : "integer"}, {"ids", ids}, {"counts", counts}}
      .dump();
}

void write_file(const std::string& folder, const std::string& name, const std::string& content) {
  std::ofstream file(folder + "/" + name, std::ios::binary);
  file << content;
  if (!file.flush()) throw std::runtime_error(folder + "/" + name + " cannot be written");
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string path = (std::filesystem::temp_directory_path() / "recblr-test-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = path;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_bundle(const TinyBundle& bundle, const std::string& folder) {
  const WeightFile weights = weights_of(bundle);
  const std::vector<std::pair<std::string, std::string>> files = {
      {"model.onnx", weights.content()},
      {"items.json", items_of(bundle)},
      {"initial_state.npy", npy_of(std::vector<float>(static_cast<size_t>(bundle.state_size())))}};
  ordered_json entries;
  for (const auto& [name, content] : files) {
    write_file(folder, name, content);
    entries[name] = {{"sha256", sha256_of(content)}, {"bytes", content.size()}};
  }
  const ordered_json none = ordered_json::object();
  const ordered_json manifest = {{"format", "recblr-bundle"},
                                 {"format_version", 2},
                                 {"created", "2026-01-01T00:00:00+00:00"},
                                 {"fingerprint", "sha256:" + std::string(64, '0')},
                                 {"model", {{"dim", bundle.dim}, {"layers", 1}, {"norm_epsilon", 1e-12}}},
                                 {"precision", "fp32"},
                                 {"state_size", bundle.state_size()},
                                 {"n_items", bundle.n_items},
                                 {"max_k", bundle.max_k},
                                 {"weights", weights.entries()},
                                 {"onnx", none},
                                 {"versions", none},
                                 {"files", entries},
                                 {"parity", none},
                                 {"metrics", none},
                                 {"data", none},
                                 {"checksum", ""}};
  std::string text = manifest.dump(2);
  text.resize(text.rfind("\"checksum\""));
  write_file(folder, "manifest.json", text + "\"checksum\": \"" + sha256_of(text) + "\"\n}\n");
}

}  // namespace recblr::tests
