#include "triton/config.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "serving/text.h"

namespace recblr::triton {

namespace {

using Json = nlohmann::json;

// Fields of a configuration.
constexpr char kInput[] = "input", kOutput[] = "output";

[[noreturn]] void refuse(const std::string& message) { throw Error({Status::kBadConfig, "config.pbtxt: " + message}); }

Json parsed(std::string_view config) {
  Json json = Json::parse(config, nullptr, false);
  if (!json.is_object()) refuse("what Triton gave of it is no JSON object");
  return json;
}

const char* config_type(serving::DataType type) {
  switch (type) {
    case serving::DataType::kBool:
      return "TYPE_BOOL";
    case serving::DataType::kInt32:
      return "TYPE_INT32";
    case serving::DataType::kInt64:
      return "TYPE_INT64";
    case serving::DataType::kFp32:
      return "TYPE_FP32";
    case serving::DataType::kBytes:
      return "TYPE_STRING";
  }
  return "TYPE_INVALID";
}

bool has(const Json& config, const char* field) {
  const auto found = config.find(field);
  return found != config.end() && !found->empty();
}

// "input" or "output"; Triton has no field that says that an output is optional.
Json tensors_of(const char* kind, const std::vector<serving::TensorMetadata>& tensors) {
  Json list = Json::array();
  for (const serving::TensorMetadata& tensor : tensors) {
    Json json = {{"name", tensor.name}, {"data_type", config_type(tensor.type)}, {"dims", tensor.shape}};
    if (tensor.optional && kind == kInput) json["optional"] = true;
    list.push_back(std::move(json));
  }
  return list;
}

// Numbers of 64 bits come as strings in some places.
std::vector<int64_t> dims_of(const Json& tensor) {
  std::vector<int64_t> dims;
  for (const Json& dim : tensor.value("dims", Json::array())) {
    if (dim.is_string()) {
      dims.push_back(std::strtoll(dim.get_ref<const std::string&>().c_str(), nullptr, 10));
    } else if (dim.is_number_integer()) {
      dims.push_back(dim.get<int64_t>());
    }
  }
  return dims;
}

// Where the model takes any size, a configuration may fix one.
bool fits(const std::vector<int64_t>& dims, const std::vector<int64_t>& shape) {
  return std::equal(dims.begin(), dims.end(), shape.begin(), shape.end(),
                    [](int64_t dim, int64_t size) { return dim == size || size == -1; });
}

void check_tensors(const Json& config, const char* kind, const std::vector<serving::TensorMetadata>& tensors) {
  const std::string what = kind;
  if (!has(config, kind)) {
    refuse("it names no " + what + "s: name those of the model, or start the server without " +
           "--disable-auto-complete-config");
  }
  for (const Json& given : config[kind]) {
    const std::string name = given.value("name", "");
    const auto tensor = std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
    if (tensor == tensors.end()) {
      std::string known;
      for (const serving::TensorMetadata& t : tensors) known += (known.empty() ? "" : ", ") + std::string(t.name);
      refuse("the model has no " + what + " " + serving::shown(name) + ": give " + known + ", or leave all " + what +
             "s out");
    }
    const std::string type = given.value("data_type", "");
    if (type != config_type(tensor->type)) {
      refuse(what + " " + name + " is " + type + ": this model's is " + config_type(tensor->type));
    }
    const std::vector<int64_t> dims = dims_of(given);
    if (!fits(dims, tensor->shape)) {
      refuse(what + " " + name + " has dims " + serving::shown_list(dims) + ": this model's has " +
             serving::shown_list(tensor->shape));
    }
  }
  for (const serving::TensorMetadata& tensor : tensors) {
    const auto named = [&](const Json& given) { return given.value("name", "") == tensor.name; };
    const Json& given = config[kind];
    if (kind == kInput && !tensor.optional && std::none_of(given.begin(), given.end(), named)) {
      refuse("input " + std::string(tensor.name) + " is missing: add it, or leave all inputs out");
    }
  }
}

template <typename Number>
void read_number(const std::string& name, const std::string& text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  if (error == std::errc() && end == text.data() + text.size()) return;
  refuse("parameter " + name + " is " + serving::shown(text) + ": give a " +
         (std::is_integral_v<Number> ? "whole number" : "number"));
}

}  // namespace

TRITONSERVER_DataType triton_type(serving::DataType type) {
  switch (type) {
    case serving::DataType::kBool:
      return TRITONSERVER_TYPE_BOOL;
    case serving::DataType::kInt32:
      return TRITONSERVER_TYPE_INT32;
    case serving::DataType::kInt64:
      return TRITONSERVER_TYPE_INT64;
    case serving::DataType::kFp32:
      return TRITONSERVER_TYPE_FP32;
    case serving::DataType::kBytes:
      return TRITONSERVER_TYPE_BYTES;
  }
  return TRITONSERVER_TYPE_INVALID;
}

Settings read_settings(std::string_view config) {
  Settings settings;
  Batching& batching = settings.engine.batching.emplace();
  serving::QuestionLimits& limits = settings.limits;
  struct Count {
    const char* name;
    int64_t* value;
    int64_t most = 1'000'000'000;
  };
  int64_t threads = 0, workers = 0;
  const Count counts[] = {
      {"threads", &threads, RECBLR_MAX_THREADS},
      {"workers", &workers, RECBLR_MAX_THREADS},
      {"max_batch_rows", &batching.max_batch_rows},
      {"max_batch_tokens", &batching.max_batch_tokens},
      {"max_queue", &batching.max_queued_rows},
      {"max_users", &limits.max_users},
      {"max_history", &limits.max_history},
      {"max_ids", &limits.max_ids},
      {"max_k", &limits.max_k},
      {"max_results", &limits.max_results},
  };
  const Json parameters = parsed(config).value("parameters", Json::object());
  for (const auto& [name, value] : parameters.items()) {
    const std::string text = value.value("string_value", "");
    const auto count =
        std::find_if(std::begin(counts), std::end(counts), [&](const Count& c) { return c.name == name; });
    if (count != std::end(counts)) {
      read_number(name, text, count->value);
      if (*count->value < 1 || *count->value > count->most) {
        refuse("parameter " + name + " is " + text + ": give a whole number from 1 to " +
               serving::grouped(count->most));
      }
    } else if (name == "max_delay_ms") {
      read_number(name, text, &batching.max_delay);
      batching.max_delay /= 1e3;
    } else if (name == "timeout") {
      read_number(name, text, &batching.timeout.emplace());
      if (!(*batching.timeout > 0)) refuse("parameter timeout is " + text + ": give seconds above 0");
    } else if (std::any_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; })) {
      std::string known;
      for (const Count& c : counts) known += std::string(c.name) + ", ";
      refuse("parameter " + serving::shown(name) + " is unknown: give " + known + "max_delay_ms or timeout");
    }
  }
  settings.engine.threads = static_cast<int>(threads);
  batching.workers = static_cast<int>(workers);
  return settings;
}

std::optional<std::string> completed(std::string_view config, const Bundle& bundle) {
  Json json = parsed(config);
  const bool has_inputs = has(json, kInput), has_outputs = has(json, kOutput);
  if (has_inputs && has_outputs) return std::nullopt;
  if (!has_inputs) json[kInput] = tensors_of(kInput, serving::input_metadata(bundle));
  if (!has_outputs) json[kOutput] = tensors_of(kOutput, serving::output_metadata(bundle));
  return json.dump();
}

void check_config(std::string_view config, const Bundle& bundle) {
  const Json json = parsed(config);
  const int64_t max_batch_size = json.value("max_batch_size", int64_t{0});
  if (max_batch_size != 0) {
    refuse("max_batch_size is " + std::to_string(max_batch_size) +
           ": requests have any number of users, and the backend merges them itself; leave it out");
  }
  if (has(json, "sequence_batching")) {
    refuse("the backend keeps no state of a sequence: leave sequence_batching out, and send state_out as state_in");
  }
  check_tensors(json, kInput, serving::input_metadata(bundle));
  check_tensors(json, kOutput, serving::output_metadata(bundle));
}

}  // namespace recblr::triton
