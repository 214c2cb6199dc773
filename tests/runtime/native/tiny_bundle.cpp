#include "tiny_bundle.h"

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <utility>

#include "bundle/toy_bundle.h"

namespace recblr::tests {
namespace {

using nlohmann::json;

std::string bytes_of(const std::vector<float>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
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
  const json& entries() const { return entries_; }

 private:
  std::mt19937 random_;
  std::string content_;
  json entries_;
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
  json ids = json::array(), counts = json::array();
  for (int64_t j = 1; j <= bundle.n_items; ++j) {
    ids.push_back(bundle.has_string_ids ? json("item-" + std::to_string(j)) : json(10 * j));
    counts.push_back(bundle.counts.empty() ? j : bundle.counts[static_cast<size_t>(j - 1)]);
  }
  return json{{"id_type", bundle.has_string_ids ? "string" : "integer"}, {"ids", ids}, {"counts", counts}}.dump();
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
      {"initial_state.npy", testing::npy(std::vector<float>(static_cast<size_t>(bundle.state_size())))}};
  json entries;
  for (const auto& [name, content] : files) {
    testing::write_file(folder + "/" + name, content);
    entries[name] = {{"sha256", sha256_of(content)}, {"bytes", content.size()}};
  }
  const json none = json::object();
  const json manifest = {{"format", "recblr-bundle"},
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
                         {"data", none}};
  testing::write_file(folder + "/manifest.json", testing::manifest_text(manifest));
}

}  // namespace recblr::tests
