// The plugin library, loaded as TensorRT loads it.
#pragma once

#include <string>
#include <vector>

#include "tensorrt/nvinfer.h"

namespace host {

class Library {
 public:
  // Throws std::runtime_error where the library cannot be loaded or lacks a function.
  explicit Library(const std::string& path);

  nvinfer1::IPluginCreatorV3One* creator(const std::string& name) const;  // null where there is none
  size_t n_creators() const { return creators_.size(); }

  // `finder`: an ILoggerFinder of either kind, or null.
  void set_logger_finder(void* finder) const { set_logger_finder_(finder); }

  template <typename Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  void* handle_;
  void (*set_logger_finder_)(void*);
  std::vector<nvinfer1::IPluginCreatorInterface*> creators_;
};

}  // namespace host
