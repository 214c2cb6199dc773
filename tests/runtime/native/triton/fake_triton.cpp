#include "fake_triton.h"

#include <utility>

namespace recblr::triton {

ApiVersion api_version;

}  // namespace recblr::triton

using Error = TRITONSERVER_Error;

extern "C" {

Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* msg) { return new Error{code, msg}; }
void TRITONSERVER_ErrorDelete(Error* error) { delete error; }
const char* TRITONSERVER_ErrorMessage(Error* error) { return error->message.c_str(); }
const char* TRITONSERVER_DataTypeString(TRITONSERVER_DataType datatype) {
  switch (datatype) {
    case TRITONSERVER_TYPE_BOOL:
      return "BOOL";
    case TRITONSERVER_TYPE_INT32:
      return "INT32";
    case TRITONSERVER_TYPE_INT64:
      return "INT64";
    case TRITONSERVER_TYPE_FP32:
      return "FP32";
    case TRITONSERVER_TYPE_BYTES:
      return "BYTES";
    default:
      return "<invalid>";
  }
}
Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel, const char*, const int, const char*) { return nullptr; }

Error* TRITONSERVER_MessageNewFromSerializedJson(TRITONSERVER_Message** message, const char* base, size_t byte_size) {
  *message = new TRITONSERVER_Message{std::string(base, byte_size)};
  return nullptr;
}
Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message* message, const char** base, size_t* byte_size) {
  *base = message->text.data();
  *byte_size = message->text.size();
  return nullptr;
}
Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message* message) {
  delete message;
  return nullptr;
}

Error* TRITONBACKEND_ApiVersion(uint32_t* major, uint32_t* minor) {
  *major = recblr::triton::api_version.major;
  *minor = recblr::triton::api_version.minor;
  return nullptr;
}
Error* TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(TRITONBACKEND_BackendAttribute* attribute,
                                                               const TRITONSERVER_InstanceGroupKind kind,
                                                               const uint64_t count, const uint64_t*, const uint64_t) {
  *attribute = {kind, count};
  return nullptr;
}

Error* TRITONBACKEND_ModelVersion(TRITONBACKEND_Model* model, uint64_t* version) {
  *version = model->version;
  return nullptr;
}
Error* TRITONBACKEND_ModelRepository(TRITONBACKEND_Model* model, TRITONBACKEND_ArtifactType* artifact_type,
                                     const char** location) {
  *artifact_type = model->artifacts;
  *location = model->repository.c_str();
  return nullptr;
}
Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model* model, const uint32_t, TRITONSERVER_Message** model_config) {
  *model_config = new TRITONSERVER_Message{model->config};
  return nullptr;
}
Error* TRITONBACKEND_ModelAutoCompleteConfig(TRITONBACKEND_Model* model, bool* auto_complete_config) {
  *auto_complete_config = model->completes;
  return nullptr;
}
Error* TRITONBACKEND_ModelSetConfig(TRITONBACKEND_Model* model, const uint32_t, TRITONSERVER_Message* model_config) {
  model->config = model_config->text;
  return nullptr;
}
Error* TRITONBACKEND_ModelState(TRITONBACKEND_Model* model, void** state) {
  *state = model->state;
  return nullptr;
}
Error* TRITONBACKEND_ModelSetState(TRITONBACKEND_Model* model, void* state) {
  model->state = state;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceKind(TRITONBACKEND_ModelInstance* instance, TRITONSERVER_InstanceGroupKind* kind) {
  *kind = instance->kind;
  return nullptr;
}
Error* TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Model** model) {
  *model = instance->model;
  return nullptr;
}
Error* TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance* instance, void** state) {
  *state = instance->state;
  return nullptr;
}
Error* TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance* instance, void* state) {
  instance->state = state;
  return nullptr;
}
Error* TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request*,
                                                   const bool success, const uint64_t, const uint64_t, const uint64_t,
                                                   const uint64_t) {
  ++(success ? instance->succeeded : instance->failed);
  return nullptr;
}
Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance* instance,
                                                        const uint64_t batch_size, const uint64_t exec_start_ns,
                                                        const uint64_t compute_start_ns, const uint64_t compute_end_ns,
                                                        const uint64_t exec_end_ns) {
  instance->batched += batch_size;
  if (++instance->batches == 1) instance->times = {exec_start_ns, compute_start_ns, compute_end_ns, exec_end_ns};
  return nullptr;
}

Error* TRITONBACKEND_RequestInputCount(TRITONBACKEND_Request* request, uint32_t* count) {
  if (request->throws) throw 1;
  *count = static_cast<uint32_t>(request->inputs.size());
  return nullptr;
}
Error* TRITONBACKEND_RequestInputByIndex(TRITONBACKEND_Request* request, const uint32_t index,
                                         TRITONBACKEND_Input** input) {
  *input = &request->inputs[index];
  return nullptr;
}
Error* TRITONBACKEND_InputProperties(TRITONBACKEND_Input* input, const char** name, TRITONSERVER_DataType* datatype,
                                     const int64_t** shape, uint32_t* dims_count, uint64_t*, uint32_t* buffer_count) {
  *name = input->name.c_str();
  *datatype = input->type;
  *shape = input->shape.data();
  *dims_count = static_cast<uint32_t>(input->shape.size());
  *buffer_count = static_cast<uint32_t>(input->buffers.size());
  return nullptr;
}
Error* TRITONBACKEND_InputBuffer(TRITONBACKEND_Input* input, const uint32_t index, const void** buffer,
                                 uint64_t* buffer_byte_size, TRITONSERVER_MemoryType* memory_type, int64_t* id) {
  *buffer = input->buffers[index].data();
  *buffer_byte_size = input->buffers[index].size();
  *memory_type = input->memory;
  *id = 3;
  return nullptr;
}
Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request* request, uint32_t* count) {
  *count = static_cast<uint32_t>(request->outputs.size());
  return nullptr;
}
Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* request, const uint32_t index, const char** output_name) {
  *output_name = request->outputs[index].c_str();
  return nullptr;
}
Error* TRITONBACKEND_RequestParameterCount(TRITONBACKEND_Request* request, uint32_t* count) {
  *count = static_cast<uint32_t>(request->parameters.size());
  return nullptr;
}
Error* TRITONBACKEND_RequestParameter(TRITONBACKEND_Request* request, const uint32_t index, const char** key,
                                      TRITONSERVER_ParameterType* type, const void** vvalue) {
  const auto& [name, value] = request->parameters[index];
  *key = name.c_str();
  *type = static_cast<TRITONSERVER_ParameterType>(value.index());
  if (const auto* text = std::get_if<std::string>(&value)) *vvalue = text->c_str();
  if (const auto* number = std::get_if<int64_t>(&value)) *vvalue = number;
  if (const auto* truth = std::get_if<bool>(&value)) *vvalue = truth;
  if (const auto* number = std::get_if<double>(&value)) *vvalue = number;
  return nullptr;
}
Error* TRITONBACKEND_InferenceRequestTimeoutMicroseconds(TRITONBACKEND_Request* request, uint64_t* timeout) {
  *timeout = request->timeout;
  return nullptr;
}
Error* TRITONBACKEND_RequestIsCancelled(TRITONBACKEND_Request* request, bool* is_cancelled) {
  *is_cancelled = request->is_cancelled;
  return nullptr;
}
// What a request has is gone then, so that sanitizers see who uses it after.
Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, uint32_t) {
  std::vector<TRITONBACKEND_Input>().swap(request->inputs);
  std::vector<std::string>().swap(request->outputs);
  request->parameters.clear();
  request->released.set_value();
  return nullptr;
}

Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response, TRITONBACKEND_Request* request) {
  if (request->has_no_response) return new Error{TRITONSERVER_ERROR_INTERNAL, "no response for it"};
  *response = new TRITONBACKEND_Response{request, {}, {}};
  return nullptr;
}
Error* TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response* response, TRITONBACKEND_Output** output, const char* name,
                                    const TRITONSERVER_DataType datatype, const int64_t* shape,
                                    const uint32_t dims_count) {
  response->outputs.push_back(std::make_unique<TRITONBACKEND_Output>(
      TRITONBACKEND_Output{name, datatype, {shape, shape + dims_count}, "", response->request->output_memory}));
  *output = response->outputs.back().get();
  return nullptr;
}
Error* TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output* output, void** buffer, const uint64_t buffer_byte_size,
                                  TRITONSERVER_MemoryType* memory_type, int64_t* id) {
  output->content.resize(buffer_byte_size);
  *buffer = output->content.data();
  *memory_type = output->memory;
  *id = 3;
  return nullptr;
}
Error* TRITONBACKEND_ResponseSetStringParameter(TRITONBACKEND_Response* response, const char* name, const char* value) {
  response->parameters[name] = value;
  return nullptr;
}
Error* TRITONBACKEND_ResponseSend(TRITONBACKEND_Response* response, const uint32_t, Error* error) {
  const std::unique_ptr<TRITONBACKEND_Response> owned(response);
  Answer answer;
  if (error != nullptr) {
    answer.code = error->code;
    answer.error = error->message;
  } else {
    for (const auto& output : response->outputs) answer.outputs.emplace(output->name, std::move(*output));
    answer.parameters = response->parameters;
  }
  response->request->answer.set_value(std::move(answer));
  return nullptr;
}

}  // extern "C"
