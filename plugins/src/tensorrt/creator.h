// Makes plugins from attributes or from their serialization, which are the same fields.
#pragma once

#include <initializer_list>
#include <memory>
#include <vector>

#include "tensorrt/plugin.h"

namespace recblr::tensorrt {

// Field `name` as an integer, or `otherwise` where it is absent.
// Throws std::invalid_argument for a field of another type or length.
int32_t int_field(const nvinfer1::PluginFieldCollection& fields, const char* name, int32_t otherwise);

class Creator : public nvinfer1::IPluginCreatorV3One {
 public:
  // Throws std::invalid_argument where a field has a wrong value.
  using Make = std::unique_ptr<Plugin> (*)(const char* layer, const nvinfer1::PluginFieldCollection& fields);

  Creator(const char* op, std::initializer_list<nvinfer1::PluginField> fields, Make make);

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fc,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  const char* getPluginName() const noexcept override { return op_; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  const char* op_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_;
  Make make_;
};

Creator& gated_scan_creator();
Creator& causal_conv1d_creator();

}  // namespace recblr::tensorrt
