#include "triton/task.h"

#include <algorithm>
#include <cstring>
#include <list>

#include "serving/limits.h"
#include "serving/tensors.h"
#include "triton/error.h"

namespace recblr::triton {

namespace {

// The content of an input, in Triton's memory, or put together in `joined` where it comes in several buffers.
Expected<std::string_view> content_of(TRITONBACKEND_Input* input, const char* name, uint32_t n_buffers,
                                      std::list<std::string>* joined) {
  std::string* whole = nullptr;
  for (uint32_t j = 0; j < n_buffers; ++j) {
    const void* buffer = nullptr;
    uint64_t size = 0;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    int64_t device = 0;
    check(TRITONBACKEND_InputBuffer(input, j, &buffer, &size, &memory, &device));
    if (memory == TRITONSERVER_MEMORY_GPU) {
      return Failure{Status::kInvalidArgument, std::string(name) + " is in the memory of GPU " +
                                                   std::to_string(device) + ": this backend reads the CPU's; send it " +
                                                   "with the request, or in system shared memory"};
    }
    const std::string_view part(static_cast<const char*>(buffer), size);
    if (n_buffers == 1) return part;
    if (whole == nullptr) whole = &joined->emplace_back();
    whole->append(part);
  }
  return whole == nullptr ? std::string_view() : *whole;
}

serving::Parameters parameters_of(TRITONBACKEND_Request* request) {
  serving::Parameters parameters;
  uint32_t count = 0;
  check(TRITONBACKEND_RequestParameterCount(request, &count));
  for (uint32_t j = 0; j < count; ++j) {
    const char* name = nullptr;
    TRITONSERVER_ParameterType type{};
    const void* value = nullptr;
    check(TRITONBACKEND_RequestParameter(request, j, &name, &type, &value));
    if (type == TRITONSERVER_PARAMETER_STRING) parameters[name] = std::string(static_cast<const char*>(value));
    if (type == TRITONSERVER_PARAMETER_INT) parameters[name] = *static_cast<const int64_t*>(value);
    if (type == TRITONSERVER_PARAMETER_BOOL) parameters[name] = *static_cast<const bool*>(value);
    if (type == TRITONSERVER_PARAMETER_DOUBLE) parameters[name] = *static_cast<const double*>(value);
  }
  // Triton takes this one for itself, though it is for its own batching, which this backend does without.
  if (TRITONBACKEND_InferenceRequestTimeoutMicroseconds != nullptr) {
    uint64_t timeout = 0;
    check(TRITONBACKEND_InferenceRequestTimeoutMicroseconds(request, &timeout));
    if (timeout > 0) parameters["timeout"] = static_cast<int64_t>(std::min<uint64_t>(timeout, INT64_MAX));
  }
  return parameters;
}

// Whether its client has left while it waited for the server.
bool is_cancelled(TRITONBACKEND_Request* request) {
  bool cancelled = false;
  if (TRITONBACKEND_RequestIsCancelled != nullptr) {
    if (TRITONSERVER_Error* error = TRITONBACKEND_RequestIsCancelled(request, &cancelled)) {
      TRITONSERVER_ErrorDelete(error);  // of requests that nobody can cancel
      return false;
    }
  }
  return cancelled;
}

void add_output(TRITONBACKEND_Response* response, const serving::OutputTensor& tensor) {
  TRITONBACKEND_Output* output = nullptr;
  const std::string name(tensor.name);
  check(TRITONBACKEND_ResponseOutput(response, &output, name.c_str(), triton_type(tensor.type), tensor.shape.data(),
                                     static_cast<uint32_t>(tensor.shape.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t device = 0;
  check(TRITONBACKEND_OutputBuffer(output, &buffer, tensor.content.size(), &memory, &device));
  if (memory == TRITONSERVER_MEMORY_GPU) {
    throw Error({Status::kInvalidArgument, name + " is wanted in the memory of GPU " + std::to_string(device) +
                                               ": this backend writes to the CPU's; ask for it with the response, or " +
                                               "in system shared memory"});
  }
  if (!tensor.content.empty()) std::memcpy(buffer, tensor.content.data(), tensor.content.size());
}

}  // namespace

Expected<void> Task::read(const Bundle& bundle, const Settings& settings) {
  if (is_cancelled(request)) return Failure{Status::kCancelled, "the request was withdrawn by its client"};
  uint32_t count = 0;
  check(TRITONBACKEND_RequestInputCount(request, &count));
  std::vector<serving::Tensor> tensors(count);
  std::list<std::string> joined;
  for (uint32_t j = 0; j < count; ++j) {
    TRITONBACKEND_Input* input = nullptr;
    const char* name = nullptr;
    TRITONSERVER_DataType type{};
    const int64_t* shape = nullptr;
    uint32_t n_dims = 0, n_buffers = 0;
    check(TRITONBACKEND_RequestInputByIndex(request, j, &input));
    check(TRITONBACKEND_InputProperties(input, &name, &type, &shape, &n_dims, nullptr, &n_buffers));
    Expected<std::string_view> content = content_of(input, name, n_buffers, &joined);
    if (!content) return content.error();
    tensors[j] = {name, TRITONSERVER_DataTypeString(type), {shape, shape + n_dims}, *content};
  }
  check(TRITONBACKEND_RequestOutputCount(request, &count));
  outputs.clear();
  for (uint32_t j = 0; j < count; ++j) {
    const char* name = nullptr;
    check(TRITONBACKEND_RequestOutputName(request, j, &name));
    outputs.emplace_back(name);
  }
  Expected<void> done = serving::read_question(tensors, parameters_of(request), outputs, bundle, &question);
  question.limit_timeout(settings.engine.batching->timeout);
  return done ? serving::check_limits(question, settings.limits, bundle.n_items()) : done;
}

void Task::write(const Bundle& bundle, TRITONBACKEND_Response* response) const {
  for (const serving::OutputTensor& tensor : serving::answer_tensors(question, outputs, bundle)) {
    add_output(response, tensor);
  }
  if (TRITONBACKEND_ResponseSetStringParameter == nullptr) return;
  const std::string fingerprint(bundle.fingerprint());
  check(TRITONBACKEND_ResponseSetStringParameter(response, serving::kModelParameter, fingerprint.c_str()));
}

}  // namespace recblr::triton
