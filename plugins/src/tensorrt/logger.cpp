#include "tensorrt/logger.h"

#include <cxxabi.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <typeinfo>

// Always our declarations: they have both kinds of loggers, each of NVIDIA's header sets has one.
#define RECBLR_NVINFER_NAMESPACE recblr_nvinfer
#include "tensorrt/nvinfer_abi.h"

namespace recblr::tensorrt {

namespace {

using OldFinder = recblr_nvinfer::ILoggerFinder;
using NewFinder = recblr_nvinfer::v_1_0::ILoggerFinder;

// The finder that TensorRT gave, as the class it is of; the other is null.
std::atomic<OldFinder*> old_finder{nullptr};
std::atomic<NewFinder*> new_finder{nullptr};

// Whether a class or one of its bases has the name.
bool is_a(const std::type_info* type, const char* name) {
  if (std::strcmp(type->name(), name) == 0) return true;
  if (const auto* one = dynamic_cast<const abi::__si_class_type_info*>(type)) return is_a(one->__base_type, name);
  if (const auto* several = dynamic_cast<const abi::__vmi_class_type_info*>(type)) {
    for (unsigned base = 0; base < several->__base_count; ++base) {
      if (is_a(several->__base_info[base].__base_type, name)) return true;
    }
  }
  return false;
}

// Loggers became versioned interfaces in TensorRT 11 and somewhere within TensorRT-RTX 1.x, which moved their methods
// to other places. The type information, which stands before the virtual methods, tells which kind an object is.
void keep_finder(void* finder) {
  OldFinder* as_old = nullptr;
  NewFinder* as_new = nullptr;
  if (finder != nullptr) {
    const auto* type = static_cast<const std::type_info*>((*static_cast<void***>(finder))[-1]);
    if (type != nullptr && is_a(type, "N8nvinfer15v_1_013ILoggerFinderE")) {
      as_new = static_cast<NewFinder*>(finder);
    } else if (type != nullptr && is_a(type, "N8nvinfer113ILoggerFinderE")) {
      as_old = static_cast<OldFinder*>(finder);
    }
  }
  old_finder = as_old;
  new_finder = as_new;
}

template <typename Finder>
bool log_through(Finder* finder, const char* message) {
  auto* logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger == nullptr) return false;
  logger->log(recblr_nvinfer::ILogger::Severity::kERROR, message);
  return true;
}

}  // namespace

void log_error(const char* message) noexcept {
  try {
    if (log_through(new_finder.load(), message)) return;
    if (log_through(old_finder.load(), message)) return;
  } catch (...) {
    // findLogger may throw: as if there were none
  }
  std::fprintf(stderr, "%s\n", message);
}

}  // namespace recblr::tensorrt

// TensorRT calls this when it loads the library; `finder` is its nvinfer1::ILoggerFinder.
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(void* finder) {
  recblr::tensorrt::keep_finder(finder);
}
