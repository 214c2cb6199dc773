#include "library.h"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>

namespace host {

Library::Library(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) throw std::runtime_error(dlerror());
  set_logger_finder_ = function<void(void*)>("setLoggerFinder");
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* creators =
      function<nvinfer1::IPluginCreatorInterface* const*(int32_t&)>("getCreators")(count);
  creators_.assign(creators, creators + count);
}

void* Library::symbol(const char* name) const {
  void* found = dlsym(handle_, name);
  if (found == nullptr) throw std::runtime_error(dlerror());
  return found;
}

nvinfer1::IPluginCreatorV3One* Library::creator(const std::string& name) const {
  for (nvinfer1::IPluginCreatorInterface* creator : creators_) {
    const nvinfer1::InterfaceInfo info = creator->getInterfaceInfo();
    if (std::strcmp(info.kind, "PLUGIN CREATOR_V3ONE") != 0 || info.major != 1) continue;
    auto* v3 = static_cast<nvinfer1::IPluginCreatorV3One*>(creator);
    if (name == v3->getPluginName()) return v3;
  }
  return nullptr;
}

}  // namespace host
