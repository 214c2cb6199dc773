// Triton as a backend sees it: the objects behind its handles, and the functions of triton_api.h on them.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "triton/triton_api.h"

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  std::string message;
};

struct TRITONSERVER_Message {
  std::string text;
};

struct TRITONBACKEND_BackendAttribute {
  TRITONSERVER_InstanceGroupKind kind;
  uint64_t count;
};

struct TRITONBACKEND_Model {
  std::string repository;
  uint64_t version = 1;
  TRITONBACKEND_ArtifactType artifacts = TRITONBACKEND_ARTIFACT_FILESYSTEM;
  std::string config = "{}";
  bool completes = true;
  void* state = nullptr;
};

struct TRITONBACKEND_ModelInstance {
  struct Times {
    uint64_t began, submitted, computed, ended;
  };
  TRITONBACKEND_Model* model;
  TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
  void* state = nullptr;
  std::atomic<int> succeeded{0}, failed{0}, batches{0};
  std::atomic<uint64_t> batched{0};
  Times times{};  // of the last batch
};

struct TRITONBACKEND_Input {
  std::string name;
  TRITONSERVER_DataType type;
  std::vector<int64_t> shape;
  std::vector<std::string> buffers;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
};

struct TRITONBACKEND_Output {
  std::string name;
  TRITONSERVER_DataType type;
  std::vector<int64_t> shape;
  std::string content;
  TRITONSERVER_MemoryType memory;
};

struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request;
  std::vector<std::unique_ptr<TRITONBACKEND_Output>> outputs;
  std::map<std::string, std::string> parameters;
};

// An answer: outputs by their names, or an error.
struct Answer {
  std::map<std::string, TRITONBACKEND_Output> outputs;
  std::map<std::string, std::string> parameters;
  TRITONSERVER_Error_Code code = TRITONSERVER_ERROR_UNKNOWN;
  std::string error;
};

struct TRITONBACKEND_Request {
  std::vector<TRITONBACKEND_Input> inputs;
  std::vector<std::string> outputs;
  std::vector<std::pair<std::string, std::variant<std::string, int64_t, bool, double>>> parameters;
  uint64_t timeout = 0;                                             // microseconds
  bool is_cancelled = false;                                        // its client has left
  bool throws = false;                                              // what no function of C does
  TRITONSERVER_MemoryType output_memory = TRITONSERVER_MEMORY_CPU;  // where outputs are wanted
  bool has_no_response = false;                                     // making one fails
  std::promise<Answer> answer;
  std::promise<void> released;
};

namespace recblr::triton {

// What TRITONBACKEND_ApiVersion says.
struct ApiVersion {
  uint32_t major = 1, minor = 12;
};
extern ApiVersion api_version;

}  // namespace recblr::triton
