#include "backends/model/model_weights.h"

#include "base/error.h"

namespace recblr {

namespace {

std::string text(const std::vector<int64_t>& shape) {
  std::string list = "[";
  for (const int64_t size : shape) list += (list.size() > 1 ? ", " : "") + std::to_string(size);
  return list + "]";
}

bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

// Looks weights up.
class Source {
 public:
  Source(const Manifest& manifest, const WeightAddress& address) : manifest_(manifest), address_(address) {}

  const std::vector<int64_t>& shape(const std::string& name, size_t n_dims) const {
    const auto found = manifest_.weights.find(name);
    if (found == manifest_.weights.end()) {
      refuse(Code::kBundle, "the bundle's manifest lists no weight " + name + ": export the model again");
    }
    const std::vector<int64_t>& shape = found->second.shape;
    for (const int64_t size : shape) {
      if (size < 1) refuse(Code::kBundle, name + " has shape " + text(shape) + ": export the model again");
    }
    if (shape.size() != n_dims) {
      refuse(Code::kBundle, name + " has shape " + text(shape) + ", not " + std::to_string(n_dims) +
                                " dimensions: export the model again");
    }
    return shape;
  }

  const void* weight(const std::string& name, const std::vector<int64_t>& expected) const {
    const bool is_bias = ends_with(name, "bias");
    if (is_bias && manifest_.weights.find(name) == manifest_.weights.end()) return nullptr;
    const std::vector<int64_t>& found = shape(name, expected.size());
    if (found != expected) {
      refuse(Code::kBundle, name + " has shape " + text(found) + ", with the model's other weights it must be " +
                                text(expected) + ": export the model again");
    }
    return address_(name);
  }

 private:
  const Manifest& manifest_;
  const WeightAddress& address_;
};

LayerWeights layer_weights(const Source& source, const std::string& block, const ModelWeights& w) {
  const int64_t d = w.dim, h = w.width, f = w.feed_forward;
  const std::string recurrent = block + "recurrent.", feed_forward = block + "feed_forward.";
  LayerWeights layer{};
  layer.in_proj = source.weight(recurrent + "in_proj.weight", {2 * h, d});
  layer.conv_weight = source.weight(recurrent + "conv_weight", {h, w.taps});
  layer.conv_bias = source.weight(recurrent + "conv_bias", {h});
  layer.gates = source.weight(recurrent + "gates.weight", {2 * h, h});
  layer.gates_bias = source.weight(recurrent + "gates.bias", {2 * h});
  layer.decay = source.weight(recurrent + "decay", {h});
  layer.out_proj = source.weight(recurrent + "out_proj.weight", {d, h});
  layer.recurrent_norm_weight = source.weight(block + "recurrent_norm.weight", {d});
  layer.recurrent_norm_bias = source.weight(block + "recurrent_norm.bias", {d});
  layer.up = source.weight(feed_forward + "up.weight", {f, d});
  layer.up_bias = source.weight(feed_forward + "up.bias", {f});
  layer.down = source.weight(feed_forward + "down.weight", {d, f});
  layer.down_bias = source.weight(feed_forward + "down.bias", {d});
  layer.feed_forward_norm_weight = source.weight(block + "feed_forward_norm.weight", {d});
  layer.feed_forward_norm_bias = source.weight(block + "feed_forward_norm.bias", {d});
  return layer;
}

}  // namespace

const void* item_embedding(const Manifest& manifest, const WeightAddress& address) {
  return Source(manifest, address).weight(kEmbedding, {manifest.n_items + 1, manifest.dim});
}

ModelWeights model_weights(const Manifest& manifest, const WeightAddress& address) {
  const Source source(manifest, address);
  if (manifest.n_layers < 1) {
    refuse(Code::kBundle, "the bundle's manifest does not say how many layers its model has: export the model again");
  }
  const std::vector<int64_t>& conv = source.shape("blocks.0.recurrent.conv_weight", 2);
  ModelWeights w{};
  w.n_items = manifest.n_items;
  w.dim = manifest.dim;
  w.width = conv[0];
  w.taps = conv[1];
  w.feed_forward = source.shape("blocks.0.feed_forward.up.weight", 2)[0];
  w.norm_epsilon = static_cast<float>(manifest.norm_epsilon);
  w.embedding = item_embedding(manifest, address);
  w.norm_weight = source.weight("norm.weight", {w.dim});
  w.norm_bias = source.weight("norm.bias", {w.dim});
  for (int64_t layer = 0; layer < manifest.n_layers; ++layer) {
    w.layers.push_back(layer_weights(source, "blocks." + std::to_string(layer) + ".", w));
  }
  if (w.state_size() != manifest.state_size) {
    refuse(Code::kBundle, "the bundle's weights make states of " + std::to_string(w.state_size()) +
                              " numbers, its manifest says " + std::to_string(manifest.state_size) +
                              ": export the model again");
  }
  return w;
}

}  // namespace recblr
