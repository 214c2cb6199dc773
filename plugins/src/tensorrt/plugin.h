// What the TensorRT plugins share: everything but the signature, the attributes and the kernel.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensorrt/nvinfer.h"
#include "tensorrt/signature.h"

namespace recblr::tensorrt {

inline constexpr const char* kNamespace = "recblr";
inline constexpr const char* kVersion = "1";

// The C ABI's number of a data type.
int32_t abi_type(nvinfer1::DataType type);

// A plugin without workspace and tactics, of linear tensors. Its methods never throw: they log and return an error.
class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
 public:
  // `op` and `signature` must outlive all plugins.
  Plugin(const char* op, const Signature& signature, const char* layer);

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override { return op_; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t nbInputs,
                          const nvinfer1::DynamicPluginTensorDesc* out, int32_t nbOutputs) noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs, const nvinfer1::DataType* inputTypes,
                             int32_t nbInputs) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t nbInputs, const nvinfer1::DimsExprs* shapeInputs,
                          int32_t nbShapeInputs, nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
                          nvinfer1::IExprBuilder& exprBuilder) noexcept override;
  bool supportsFormatCombination(int32_t pos, const nvinfer1::DynamicPluginTensorDesc* inOut, int32_t nbInputs,
                                 int32_t nbOutputs) noexcept override;
  int32_t getNbOutputs() const noexcept override { return static_cast<int32_t>(signature_->outputs.size()); }

  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t nbInputs, const nvinfer1::PluginTensorDesc* out,
                        int32_t nbOutputs) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* inputDesc, const nvinfer1::PluginTensorDesc* outputDesc,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 protected:
  // The attributes as fields that point into this object.
  virtual std::vector<nvinfer1::PluginField> fields() const = 0;
  virtual std::unique_ptr<Plugin> copy() const = 0;
  // Calls the C ABI and returns its status.
  virtual int run(const Sizes& sizes, int32_t type, const void* const* inputs, void* const* outputs,
                  cudaStream_t stream) const = 0;

 private:
  template <typename Body>
  int32_t guarded(const Body& body) const noexcept;
  Sizes check(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out) const;

  const char* op_;
  const Signature* signature_;
  std::string layer_;
  std::vector<nvinfer1::PluginField> serialized_;
  nvinfer1::PluginFieldCollection collection_;
};

}  // namespace recblr::tensorrt
