#include "server/grpc/infer_message.h"

#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <utility>

#include "serving/limits.h"
#include "serving/tensors.h"
#include "serving/text.h"

namespace recblr::server {
namespace {

using serving::Tensor;

Failure invalid(std::string message) { return {Status::kInvalidArgument, std::move(message)}; }

template <typename Number>
std::string_view bytes_of(const google::protobuf::RepeatedField<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), static_cast<size_t>(numbers.size()) * sizeof(Number)};
}

// Each behind its length.
std::string joined(const google::protobuf::RepeatedPtrField<std::string>& strings) {
  std::string content;
  for (const std::string& string : strings) {
    const auto size = static_cast<uint32_t>(string.size());
    char bytes[sizeof size];
    std::memcpy(bytes, &size, sizeof size);
    content.append(bytes, sizeof bytes).append(string);
  }
  return content;
}

// A view of the values, or of `strings`, to which it adds what holds them. Of other types it is empty, which are
// refused for their type.
std::string_view content_of(std::string_view datatype, const inference::InferTensorContents& contents,
                            std::deque<std::string>* strings) {
  if (datatype == "INT64") return bytes_of(contents.int64_contents());
  if (datatype == "INT32") return bytes_of(contents.int_contents());
  if (datatype == "FP32") return bytes_of(contents.fp32_contents());
  if (datatype == "BYTES") return strings->emplace_back(joined(contents.bytes_contents()));
  return {};
}

serving::Parameters read_parameters(const inference::ModelInferRequest& message) {
  serving::Parameters parameters;
  for (const auto& [name, given] : message.parameters()) {
    serving::Parameter& parameter = parameters[name];
    switch (given.parameter_choice_case()) {
      case inference::InferParameter::kBoolParam:
        parameter = given.bool_param();
        break;
      case inference::InferParameter::kInt64Param:
        parameter = int64_t{given.int64_param()};
        break;
      case inference::InferParameter::kUint64Param:
        if (given.uint64_param() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          parameter = static_cast<int64_t>(given.uint64_param());
        } else {
          parameter = static_cast<double>(given.uint64_param());
        }
        break;
      case inference::InferParameter::kDoubleParam:
        parameter = given.double_param();
        break;
      case inference::InferParameter::kStringParam:
        parameter = given.string_param();
        break;
      case inference::InferParameter::PARAMETER_CHOICE_NOT_SET:
        parameter = std::string();
        break;
    }
  }
  return parameters;
}

}  // namespace

Expected<void> read_infer_message(const inference::ModelInferRequest& message, const Bundle& bundle,
                                  serving::Question* question, std::vector<std::string_view>* outputs) {
  if (auto checked = serving::check_request_id(message.id()); !checked) return checked;
  const int n_raw = message.raw_input_contents_size();
  if (n_raw != 0 && n_raw != message.inputs_size()) {
    return invalid("raw_input_contents are " + std::to_string(n_raw) + " for " + std::to_string(message.inputs_size()) +
                   " inputs: give one for each, or none");
  }
  std::vector<Tensor> tensors;
  tensors.reserve(static_cast<size_t>(message.inputs_size()));
  std::deque<std::string> strings;
  for (int j = 0; j < message.inputs_size(); ++j) {
    const auto& input = message.inputs(j);
    if (n_raw != 0 && input.has_contents()) {
      return invalid("input " + serving::shown(input.name()) +
                     " has contents besides raw_input_contents: give one of them");
    }
    tensors.push_back({input.name(),
                       input.datatype(),
                       {input.shape().begin(), input.shape().end()},
                       n_raw != 0 ? std::string_view(message.raw_input_contents(j))
                                  : content_of(input.datatype(), input.contents(), &strings)});
  }
  outputs->clear();
  for (const auto& output : message.outputs()) {
    if (output.parameters().count("classification") != 0) {
      return invalid("classification of output " + serving::shown(output.name()) +
                     " cannot be given: this model's outputs are rankings already");
    }
    outputs->push_back(output.name());
  }
  for (const auto& parameter : message.parameters()) {
    if (auto checked = serving::check_parameter_name(parameter.first); !checked) return checked;
  }
  return serving::read_question(tensors, read_parameters(message), *outputs, bundle, question);
}

void write_infer_message(const ServedModel& model, const serving::Question& question, const std::string& id,
                         const std::vector<std::string_view>& outputs, inference::ModelInferResponse* message) {
  message->set_model_name(model.name);
  message->set_model_version(std::to_string(model.version));
  message->set_id(id);
  const std::string_view fingerprint = model.bundle.fingerprint();
  (*message->mutable_parameters())[serving::kModelParameter].set_string_param(fingerprint.data(), fingerprint.size());
  for (serving::OutputTensor& tensor : serving::answer_tensors(question, outputs, model.bundle)) {
    auto* const output = message->add_outputs();
    output->set_name(tensor.name.data(), tensor.name.size());
    output->set_datatype(name_of(tensor.type));
    for (const int64_t size : tensor.shape) output->add_shape(size);
    *message->add_raw_output_contents() = std::move(tensor.content);
  }
}

}  // namespace recblr::server
