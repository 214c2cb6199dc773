#include "tensorrt/plugin.h"

#include <stdexcept>

#include "recblr/plugins.h"
#include "tensorrt/logger.h"

namespace recblr::tensorrt {

namespace {

constexpr int32_t kSuccess = 0;
constexpr int32_t kFailure = 1;

// Dimensions that are constants in the network; the others are unknown.
nvinfer1::Dims known_dims(const nvinfer1::DimsExprs& expressions) {
  nvinfer1::Dims dims{};
  dims.nbDims = expressions.nbDims;
  for (int32_t d = 0; d < dims.nbDims; ++d) {
    dims.d[d] = expressions.d[d]->isConstant() ? expressions.d[d]->getConstantValue() : kUnknown;
  }
  return dims;
}

}  // namespace

int32_t abi_type(nvinfer1::DataType type) {
  return type == nvinfer1::DataType::kHALF   ? RECBLR_FLOAT16
         : type == nvinfer1::DataType::kBF16 ? RECBLR_BFLOAT16
                                             : RECBLR_FLOAT32;
}

Plugin::Plugin(const char* op, const Signature& signature, const char* layer)
    : op_(op), signature_(&signature), layer_(layer == nullptr ? "" : layer) {}

template <typename Body>
int32_t Plugin::guarded(const Body& body) const noexcept {
  return logged(op_, layer_.c_str(), body) ? kSuccess : kFailure;
}

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* Plugin::clone() noexcept {
  Plugin* made = nullptr;
  guarded([&] { made = copy().release(); });
  return made;
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept { return clone(); }

int32_t Plugin::configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t nbInputs,
                                const nvinfer1::DynamicPluginTensorDesc* out, int32_t nbOutputs) noexcept {
  return guarded([&] {
    signature_->check_counts(nbInputs, nbOutputs);
    std::vector<nvinfer1::Dims> shapes;
    for (int32_t i = 0; i < nbInputs; ++i) shapes.push_back(in[i].desc.dims);
    for (int32_t i = 0; i < nbOutputs; ++i) shapes.push_back(out[i].desc.dims);
    signature_->check_shapes(shapes);
    for (int32_t i = 0; i < nbInputs; ++i) signature_->check_type(i, in[i].desc.type, in[0].desc.type);
    for (int32_t i = 0; i < nbOutputs; ++i) signature_->check_type(nbInputs + i, out[i].desc.type, in[0].desc.type);
  });
}

int32_t Plugin::getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs,
                                   const nvinfer1::DataType* inputTypes, int32_t nbInputs) const noexcept {
  return guarded([&] {
    signature_->check_counts(nbInputs, nbOutputs);
    for (int32_t i = 0; i < nbInputs; ++i) signature_->check_type(i, inputTypes[i], inputTypes[0]);
    for (int32_t i = 0; i < nbOutputs; ++i) {
      const bool is_data = signature_->outputs[static_cast<size_t>(i)].kind == Kind::kData;
      outputTypes[i] = is_data ? inputTypes[0] : nvinfer1::DataType::kFLOAT;
    }
  });
}

int32_t Plugin::getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t nbInputs, const nvinfer1::DimsExprs*,
                                int32_t, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
                                nvinfer1::IExprBuilder& exprBuilder) noexcept {
  return guarded([&] {
    signature_->check_counts(nbInputs, nbOutputs);
    std::vector<nvinfer1::Dims> shapes;
    for (int32_t i = 0; i < nbInputs; ++i) shapes.push_back(known_dims(inputs[i]));
    signature_->check_shapes(shapes);
    for (int32_t i = 0; i < nbOutputs; ++i) {
      const std::vector<Extent>& extents = signature_->outputs[static_cast<size_t>(i)].extents;
      outputs[i].nbDims = static_cast<int32_t>(extents.size());
      for (size_t d = 0; d < extents.size(); ++d) {
        const auto [input, dimension] = signature_->where(extents[d]);
        const nvinfer1::IDimensionExpr* size = inputs[input].d[dimension];
        if (extents[d].symbol == kRows) {  // there is one offset more than rows
          size = exprBuilder.operation(nvinfer1::DimensionOperation::kSUB, *size, *exprBuilder.constant(1));
        }
        outputs[i].d[d] = size;
      }
    }
  });
}

bool Plugin::supportsFormatCombination(int32_t pos, const nvinfer1::DynamicPluginTensorDesc* inOut, int32_t nbInputs,
                                       int32_t nbOutputs) noexcept {
  bool supported = false;
  guarded([&] {
    signature_->check_counts(nbInputs, nbOutputs);
    const nvinfer1::PluginTensorDesc& tensor = inOut[pos].desc;
    supported = tensor.format == nvinfer1::TensorFormat::kLINEAR &&
                Signature::accepts(signature_->port(pos).kind, tensor.type, inOut[0].desc.type);
  });
  return supported;
}

Sizes Plugin::check(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out) const {
  const size_t n_inputs = signature_->inputs.size();
  std::vector<nvinfer1::Dims> shapes;
  for (size_t i = 0; i < n_inputs + signature_->outputs.size(); ++i) {
    const nvinfer1::PluginTensorDesc& tensor = i < n_inputs ? in[i] : out[i - n_inputs];
    signature_->check_type(static_cast<int32_t>(i), tensor.type, in[0].type);
    shapes.push_back(tensor.dims);
  }
  return signature_->check_shapes(shapes);
}

int32_t Plugin::onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t nbInputs,
                              const nvinfer1::PluginTensorDesc* out, int32_t nbOutputs) noexcept {
  return guarded([&] {
    signature_->check_counts(nbInputs, nbOutputs);
    check(in, out);
  });
}

int32_t Plugin::enqueue(const nvinfer1::PluginTensorDesc* inputDesc, const nvinfer1::PluginTensorDesc* outputDesc,
                        const void* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept {
  return guarded([&] {
    const Sizes sizes = check(inputDesc, outputDesc);
    if (run(sizes, abi_type(inputDesc[0].type), inputs, outputs, stream) != RECBLR_OK) {
      throw std::runtime_error(recblr_plugins_last_error());
    }
  });
}

const nvinfer1::PluginFieldCollection* Plugin::getFieldsToSerialize() noexcept {
  const int32_t status = guarded([&] {
    serialized_ = fields();
    collection_.nbFields = static_cast<int32_t>(serialized_.size());
    collection_.fields = serialized_.data();
  });
  return status == kSuccess ? &collection_ : nullptr;
}

}  // namespace recblr::tensorrt
