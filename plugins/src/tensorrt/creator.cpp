#include "tensorrt/creator.h"

#include <cstring>
#include <stdexcept>
#include <string>

#include "tensorrt/logger.h"

namespace recblr::tensorrt {

int32_t int_field(const nvinfer1::PluginFieldCollection& fields, const char* name, int32_t otherwise) {
  for (int32_t i = 0; i < fields.nbFields; ++i) {
    const nvinfer1::PluginField& field = fields.fields[i];
    if (std::strcmp(field.name, name) != 0) continue;
    if (field.type != nvinfer1::PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr) {
      throw std::invalid_argument(std::string("attribute ") + name + " must be one int32");
    }
    int32_t value;
    std::memcpy(&value, field.data, sizeof value);
    return value;
  }
  return otherwise;
}

Creator::Creator(const char* op, std::initializer_list<nvinfer1::PluginField> fields, Make make)
    : op_(op), fields_(fields), make_(make) {
  collection_.nbFields = static_cast<int32_t>(fields_.size());
  collection_.fields = fields_.data();
}

nvinfer1::IPluginV3* Creator::createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fc,
                                           nvinfer1::TensorRTPhase) noexcept {
  Plugin* made = nullptr;
  logged(op_, name, [&] { made = make_(name, fc == nullptr ? nvinfer1::PluginFieldCollection{} : *fc).release(); });
  return made;
}

}  // namespace recblr::tensorrt

// TensorRT calls this when it loads the library, and registers what it returns.
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(
    int32_t& nbCreators) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&recblr::tensorrt::gated_scan_creator(),
                                                                &recblr::tensorrt::causal_conv1d_creator()};
  nbCreators = 2;
  return creators;
}
