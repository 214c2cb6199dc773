// recblr::GatedScan: x, gates, z, decay, offsets, h0 -> y, last_h. Attribute last_only, 0 or 1.
#include <stdexcept>

#include "recblr/plugins.h"
#include "tensorrt/creator.h"

namespace recblr::tensorrt {

namespace {

constexpr const char* kOp = "GatedScan";
constexpr const char* kLastOnly = "last_only";

Signature make_signature(bool last_only) {
  const Extent z_length{last_only ? kRows : kTokens};
  return {{{"x", Kind::kData, {{kTokens}, {kWidth}}},
           {"gates", Kind::kData, {{kTokens}, {kWidth, 2}}},
           {"z", Kind::kData, {z_length, {kWidth}}},
           {"decay", Kind::kFloat32, {{kWidth}}},
           {"offsets", Kind::kOffsets, {{kRows, 1, 1}}},
           {"h0", Kind::kFloat32, {{kRows}, {kWidth}}}},
          {{"y", Kind::kData, {z_length, {kWidth}}}, {"last_h", Kind::kFloat32, {{kRows}, {kWidth}}}}};
}

const Signature& signature_for(bool last_only) {
  static const Signature every = make_signature(false), last = make_signature(true);
  return last_only ? last : every;
}

class GatedScan final : public Plugin {
 public:
  GatedScan(const char* layer, int32_t last_only)
      : Plugin(kOp, signature_for(last_only == 1), layer), last_only_(last_only) {}

  const char* getTimingCacheID() noexcept override {
    return last_only_ == 1 ? "recblr " RECBLR_VERSION " last_only=1" : "recblr " RECBLR_VERSION " last_only=0";
  }

 protected:
  std::vector<nvinfer1::PluginField> fields() const override {
    return {nvinfer1::PluginField{kLastOnly, &last_only_, nvinfer1::PluginFieldType::kINT32, 1}};
  }

  std::unique_ptr<Plugin> copy() const override { return std::make_unique<GatedScan>(*this); }

  int run(const Sizes& sizes, int32_t type, const void* const* inputs, void* const* outputs,
          cudaStream_t stream) const override {
    recblr_gated_scan arguments{};
    arguments.n_tokens = sizes[kTokens];
    arguments.n_rows = sizes[kRows];
    arguments.width = sizes[kWidth];
    arguments.dtype = type;
    arguments.offsets_type = RECBLR_INT32;
    arguments.last_only = last_only_;
    arguments.x = inputs[0];
    arguments.gates = inputs[1];
    arguments.z = inputs[2];
    arguments.decay = static_cast<const float*>(inputs[3]);
    arguments.offsets = inputs[4];
    arguments.h0 = static_cast<const float*>(inputs[5]);
    arguments.y = outputs[0];
    arguments.last_h = static_cast<float*>(outputs[1]);
    return recblr_gated_scan_forward_cuda(&arguments, stream);
  }

 private:
  int32_t last_only_;
};

std::unique_ptr<Plugin> make(const char* layer, const nvinfer1::PluginFieldCollection& fields) {
  const int32_t last_only = int_field(fields, kLastOnly, 0);
  if (last_only != 0 && last_only != 1) {
    throw std::invalid_argument("attribute last_only is " + std::to_string(last_only) + "; it must be 0 or 1");
  }
  return std::make_unique<GatedScan>(layer, last_only);
}

}  // namespace

Creator& gated_scan_creator() {
  static Creator creator(kOp, {{kLastOnly, nullptr, nvinfer1::PluginFieldType::kINT32, 1}}, make);
  return creator;
}

}  // namespace recblr::tensorrt
