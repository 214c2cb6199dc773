#include "backends/model/model_weights.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/error.h"

namespace recblr {
namespace {

// Of 9 items, D = 4, H = 6, F = 8, K = 3.
Manifest manifest_of(int64_t n_layers) {
  Manifest manifest{};
  manifest.n_items = 9;
  manifest.dim = 4;
  manifest.n_layers = n_layers;
  manifest.state_size = n_layers * 3 * 6 + 4;
  manifest.norm_epsilon = 1e-12;
  const auto add = [&](const std::string& name, const std::vector<int64_t>& shape) {
    manifest.weights[name] = {"weights.bin", 0, shape};
  };
  add("embedding.weight", {10, 4});
  add("norm.weight", {4});
  add("norm.bias", {4});
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    const std::string block = "blocks." + std::to_string(layer) + ".";
    add(block + "recurrent.in_proj.weight", {12, 4});
    add(block + "recurrent.conv_weight", {6, 3});
    add(block + "recurrent.conv_bias", {6});
    add(block + "recurrent.gates.weight", {12, 6});
    add(block + "recurrent.gates.bias", {12});
    add(block + "recurrent.decay", {6});
    add(block + "recurrent.out_proj.weight", {4, 6});
    add(block + "recurrent_norm.weight", {4});
    add(block + "recurrent_norm.bias", {4});
    add(block + "feed_forward.up.weight", {8, 4});
    add(block + "feed_forward.up.bias", {8});
    add(block + "feed_forward.down.weight", {4, 8});
    add(block + "feed_forward.down.bias", {4});
    add(block + "feed_forward_norm.weight", {4});
    add(block + "feed_forward_norm.bias", {4});
  }
  return manifest;
}

// An address of its own for each name.
class Addresses {
 public:
  const void* of(const std::string& name) { return &numbers_[name]; }
  WeightAddress address() {
    return [this](const std::string& name) { return of(name); };
  }

 private:
  std::map<std::string, int> numbers_;
};

TEST(ModelWeights, AreWhereTheirNamesLead) {
  Addresses addresses;
  const ModelWeights w = model_weights(manifest_of(2), addresses.address());
  EXPECT_EQ(w.n_items, 9);
  EXPECT_EQ(w.dim, 4);
  EXPECT_EQ(w.width, 6);
  EXPECT_EQ(w.feed_forward, 8);
  EXPECT_EQ(w.taps, 3);
  EXPECT_EQ(w.norm_epsilon, 1e-12f);
  EXPECT_EQ(w.state_size(), 40);
  EXPECT_EQ(w.embedding, addresses.of("embedding.weight"));
  EXPECT_EQ(w.norm_weight, addresses.of("norm.weight"));
  EXPECT_EQ(w.norm_bias, addresses.of("norm.bias"));
  ASSERT_EQ(w.layers.size(), 2u);
  const LayerWeights& layer = w.layers[1];
  const std::vector<std::pair<const void*, std::string>> expected{
      {layer.in_proj, "recurrent.in_proj.weight"},
      {layer.conv_weight, "recurrent.conv_weight"},
      {layer.conv_bias, "recurrent.conv_bias"},
      {layer.gates, "recurrent.gates.weight"},
      {layer.gates_bias, "recurrent.gates.bias"},
      {layer.decay, "recurrent.decay"},
      {layer.out_proj, "recurrent.out_proj.weight"},
      {layer.recurrent_norm_weight, "recurrent_norm.weight"},
      {layer.recurrent_norm_bias, "recurrent_norm.bias"},
      {layer.up, "feed_forward.up.weight"},
      {layer.up_bias, "feed_forward.up.bias"},
      {layer.down, "feed_forward.down.weight"},
      {layer.down_bias, "feed_forward.down.bias"},
      {layer.feed_forward_norm_weight, "feed_forward_norm.weight"},
      {layer.feed_forward_norm_bias, "feed_forward_norm.bias"}};
  for (const auto& [address, name] : expected) EXPECT_EQ(address, addresses.of("blocks.1." + name)) << name;
}

TEST(ModelWeights, OfAMissingBiasAreZeros) {
  Addresses addresses;
  Manifest manifest = manifest_of(1);
  manifest.weights.erase("blocks.0.recurrent.conv_bias");
  EXPECT_EQ(model_weights(manifest, addresses.address()).layers[0].conv_bias, nullptr);
}

std::string refusal(const Manifest& manifest) {
  Addresses addresses;
  try {
    model_weights(manifest, addresses.address());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kBundle);
    return error.what();
  }
  return "";
}

TEST(ModelWeights, ThatDoNotFitAreRefused) {
  Manifest manifest = manifest_of(1);
  EXPECT_EQ(refusal(manifest), "");
  manifest.weights["blocks.0.recurrent.decay"].shape = {5};
  EXPECT_EQ(refusal(manifest),
            "blocks.0.recurrent.decay has shape [5], with the model's other weights it must be [6]: export the model "
            "again");
  manifest = manifest_of(1);
  manifest.weights["embedding.weight"].shape = {9, 4};
  EXPECT_EQ(refusal(manifest),
            "embedding.weight has shape [9, 4], with the model's other weights it must be [10, 4]: export the model "
            "again");
  manifest = manifest_of(1);
  manifest.weights["blocks.0.recurrent.conv_weight"].shape = {6};
  EXPECT_EQ(refusal(manifest),
            "blocks.0.recurrent.conv_weight has shape [6], not 2 dimensions: export the model again");
  manifest.weights["blocks.0.recurrent.conv_weight"].shape = {6, 0};
  EXPECT_EQ(refusal(manifest), "blocks.0.recurrent.conv_weight has shape [6, 0]: export the model again");
  manifest = manifest_of(1);
  manifest.weights.erase("blocks.0.recurrent.out_proj.weight");
  EXPECT_EQ(refusal(manifest),
            "the bundle's manifest lists no weight blocks.0.recurrent.out_proj.weight: export the model again");
  manifest = manifest_of(1);
  manifest.state_size = 23;
  EXPECT_EQ(refusal(manifest),
            "the bundle's weights make states of 22 numbers, its manifest says 23: export the model again");
  manifest = manifest_of(1);
  manifest.n_layers = 0;
  EXPECT_EQ(refusal(manifest),
            "the bundle's manifest does not say how many layers its model has: export the model again");
}

}  // namespace
}  // namespace recblr
