// recblr::CausalConv1d: x, weight, bias, offsets, tail -> y, new_tail.
#include "recblr/plugins.h"
#include "tensorrt/creator.h"

namespace recblr::tensorrt {

namespace {

constexpr const char* kOp = "CausalConv1d";

const Signature& signature() {
  static const Signature made = {
      {{"x", Kind::kData, {{kTokens}, {kWidth}}},
       {"weight", Kind::kFloat32, {{kWidth}, {kTaps}}},
       {"bias", Kind::kFloat32, {{kWidth}}},
       {"offsets", Kind::kOffsets, {{kRows, 1, 1}}},
       {"tail", Kind::kFloat32, {{kRows}, {kTaps, 1, -1}, {kWidth}}}},
      {{"y", Kind::kData, {{kTokens}, {kWidth}}}, {"new_tail", Kind::kFloat32, {{kRows}, {kTaps, 1, -1}, {kWidth}}}}};
  return made;
}

class CausalConv1d final : public Plugin {
 public:
  explicit CausalConv1d(const char* layer) : Plugin(kOp, signature(), layer) {}

  const char* getTimingCacheID() noexcept override { return "recblr " RECBLR_VERSION; }

 protected:
  std::vector<nvinfer1::PluginField> fields() const override { return {}; }

  std::unique_ptr<Plugin> copy() const override { return std::make_unique<CausalConv1d>(*this); }

  int run(const Sizes& sizes, int32_t type, const void* const* inputs, void* const* outputs,
          cudaStream_t stream) const override {
    recblr_causal_conv1d arguments{};
    arguments.n_tokens = sizes[kTokens];
    arguments.n_rows = sizes[kRows];
    arguments.width = sizes[kWidth];
    arguments.taps = sizes[kTaps];
    arguments.dtype = type;
    arguments.offsets_type = RECBLR_INT32;
    arguments.x = inputs[0];
    arguments.weight = static_cast<const float*>(inputs[1]);
    arguments.bias = static_cast<const float*>(inputs[2]);
    arguments.offsets = inputs[3];
    arguments.tail = static_cast<const float*>(inputs[4]);
    arguments.y = outputs[0];
    arguments.new_tail = static_cast<float*>(outputs[1]);
    return recblr_causal_conv1d_forward_cuda(&arguments, stream);
  }
};

std::unique_ptr<Plugin> make(const char* layer, const nvinfer1::PluginFieldCollection&) {
  return std::make_unique<CausalConv1d>(layer);
}

}  // namespace

Creator& causal_conv1d_creator() {
  static Creator creator(kOp, {}, make);
  return creator;
}

}  // namespace recblr::tensorrt
