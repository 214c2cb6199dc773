// The functions by which Triton calls a backend. No exception leaves them.
#include <memory>
#include <string>

#include "recblr/recblr.hpp"
#include "triton/error.h"
#include "triton/instance.h"
#include "triton/model.h"
#include "triton/triton_api.h"

#define RECBLR_EXPORTED __attribute__((visibility("default")))

using recblr::Error;
using recblr::Status;
using recblr::triton::check;
using recblr::triton::guarded;
using recblr::triton::Instance;
using recblr::triton::Model;

namespace {

// Of Triton's backend API: of the first version that has all functions used here.
constexpr uint32_t kMajor = 1, kMinor = 12;

Model* model_of(TRITONBACKEND_Model* handle) {
  void* state = nullptr;
  check(TRITONBACKEND_ModelState(handle, &state));
  return static_cast<Model*>(state);
}

Instance* instance_of(TRITONBACKEND_ModelInstance* handle) {
  void* state = nullptr;
  check(TRITONBACKEND_ModelInstanceState(handle, &state));
  return static_cast<Instance*>(state);
}

}  // namespace

extern "C" {

RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend*) {
  return guarded([] {
    uint32_t major = 0, minor = 0;
    check(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major == kMajor && minor >= kMinor) return;
    throw Error({Status::kUnsupported, "this server has version " + std::to_string(major) + "." +
                                           std::to_string(minor) +
                                           " of Triton's backend API, and recblr needs 1.12 or a later 1.x: take a " +
                                           "release from 23.03 on"});
  });
}

// Where config.pbtxt has no instance_group, one on the CPU, though there be GPUs.
RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(TRITONBACKEND_Backend*,
                                                                      TRITONBACKEND_BackendAttribute* attributes) {
  return TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, TRITONSERVER_INSTANCEGROUPKIND_CPU, 1,
                                                                 nullptr, 0);
}

RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* handle) {
  return guarded([handle] {
    auto model = std::make_unique<Model>(handle);
    check(TRITONBACKEND_ModelSetState(handle, model.get()));
    static_cast<void>(model.release());
  });
}

RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* handle) {
  return guarded([handle] { delete model_of(handle); });
}

RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* handle) {
  return guarded([handle] {
    TRITONSERVER_InstanceGroupKind kind{};
    check(TRITONBACKEND_ModelInstanceKind(handle, &kind));
    if (kind == TRITONSERVER_INSTANCEGROUPKIND_GPU) {
      throw Error({Status::kBadConfig,
                   "config.pbtxt: instance_group has kind KIND_GPU, and this backend runs on the CPU: give KIND_CPU"});
    }
    TRITONBACKEND_Model* model = nullptr;
    check(TRITONBACKEND_ModelInstanceModel(handle, &model));
    auto instance = std::make_unique<Instance>(model_of(model), handle);
    check(TRITONBACKEND_ModelInstanceSetState(handle, instance.get()));
    static_cast<void>(instance.release());
  });
}

RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* handle) {
  return guarded([handle] { delete instance_of(handle); });
}

RECBLR_EXPORTED TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* handle,
                                                                       TRITONBACKEND_Request** requests,
                                                                       const uint32_t request_count) {
  return guarded([=] { instance_of(handle)->execute(requests, request_count); });
}

}  // extern "C"
