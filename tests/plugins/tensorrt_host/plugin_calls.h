// Calling a plugin as TensorRT does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cases.h"
#include "fake_tensorrt.h"
#include "library.h"

namespace host {

using PluginPointer = std::unique_ptr<nvinfer1::IPluginV3>;

nvinfer1::PluginFieldCollection collection(const std::vector<nvinfer1::PluginField>& fields);
nvinfer1::PluginField int_field(const char* name, const int32_t* value);

// The plugin of a case, through the creator.
PluginPointer make_plugin(const Library& library, const Case& of);

// The capabilities of a plugin.
nvinfer1::IPluginV3OneCore* core_of(nvinfer1::IPluginV3& plugin);
nvinfer1::IPluginV3OneBuild* build_of(nvinfer1::IPluginV3& plugin);
nvinfer1::IPluginV3OneRuntime* runtime_of(nvinfer1::IPluginV3& plugin);

std::vector<nvinfer1::PluginTensorDesc> descriptions(const std::vector<Tensor>& tensors);
int32_t change_shape(nvinfer1::IPluginV3& plugin, const Case& of);

// Keeps what the library logs while it lives.
template <typename Logger = nvinfer1::ILogger, typename Finder = nvinfer1::ILoggerFinder>
class Recorder {
 public:
  explicit Recorder(const Library& library) : library_(library) {
    finder_.logger = &logger_;
    library.set_logger_finder(&finder_);
  }
  ~Recorder() { library_.set_logger_finder(nullptr); }

  const std::string& text() const { return logger_.text; }
  void clear() { logger_.text.clear(); }

 private:
  const Library& library_;
  RecordingLogger<Logger> logger_;
  LoggerFinder<Finder, Logger> finder_;
};

}  // namespace host
