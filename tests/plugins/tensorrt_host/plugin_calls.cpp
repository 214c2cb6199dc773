#include "plugin_calls.h"

namespace host {

namespace {

// TensorRT gives the class that goes with each capability, and so do we.
template <typename Capability>
Capability* capability(nvinfer1::IPluginV3& plugin, nvinfer1::PluginCapabilityType type) {
  return static_cast<Capability*>(plugin.getCapabilityInterface(type));
}

}  // namespace

nvinfer1::PluginFieldCollection collection(const std::vector<nvinfer1::PluginField>& fields) {
  nvinfer1::PluginFieldCollection all{};
  all.nbFields = static_cast<int32_t>(fields.size());
  all.fields = fields.data();
  return all;
}

nvinfer1::PluginField int_field(const char* name, const int32_t* value) {
  return nvinfer1::PluginField{name, value, nvinfer1::PluginFieldType::kINT32, 1};
}

PluginPointer make_plugin(const Library& library, const Case& of) {
  std::vector<nvinfer1::PluginField> fields;
  if (of.op == "GatedScan") fields.push_back(int_field("last_only", &of.last_only));
  const nvinfer1::PluginFieldCollection all = collection(fields);
  return PluginPointer(library.creator(of.op)->createPlugin(of.text.c_str(), &all, nvinfer1::TensorRTPhase::kBUILD));
}

nvinfer1::IPluginV3OneCore* core_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneCore>(plugin, nvinfer1::PluginCapabilityType::kCORE);
}

nvinfer1::IPluginV3OneBuild* build_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
}

nvinfer1::IPluginV3OneRuntime* runtime_of(nvinfer1::IPluginV3& plugin) {
  return capability<nvinfer1::IPluginV3OneRuntime>(plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
}

std::vector<nvinfer1::PluginTensorDesc> descriptions(const std::vector<Tensor>& tensors) {
  std::vector<nvinfer1::PluginTensorDesc> all;
  for (const Tensor& tensor : tensors) all.push_back(tensor.desc);
  return all;
}

int32_t change_shape(nvinfer1::IPluginV3& plugin, const Case& of) {
  const auto in = descriptions(of.inputs), out = descriptions(of.outputs);
  return runtime_of(plugin)->onShapeChange(in.data(), static_cast<int32_t>(in.size()), out.data(),
                                           static_cast<int32_t>(out.size()));
}

}  // namespace host
