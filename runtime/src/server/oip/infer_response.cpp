#include "server/oip/infer_response.h"

#include <cstring>
#include <string>
#include <vector>

#include "server/answer/json_text.h"
#include "serving/tensors.h"

namespace recblr::server {
namespace {

template <typename Number, typename Append>
void append_numbers(std::string_view content, std::string* out, const Append& append) {
  for (size_t at = 0; at < content.size(); at += sizeof(Number)) {
    Number number;
    std::memcpy(&number, content.data() + at, sizeof number);
    if (at > 0) *out += ',';
    append(number, out);
  }
}

void append_strings(std::string_view content, std::string* out) {
  for (size_t at = 0; at < content.size();) {
    uint32_t size;
    std::memcpy(&size, content.data() + at, sizeof size);
    if (at > 0) *out += ',';
    append_string(content.substr(at + sizeof size, size), out);
    at += sizeof size + size;
  }
}

// The tensor's values in one list.
void append_data(const serving::OutputTensor& tensor, std::string* out) {
  switch (tensor.type) {
    case serving::DataType::kBool:
      return append_numbers<uint8_t>(tensor.content, out,
                                     [](uint8_t flag, std::string* text) { *text += flag != 0 ? "true" : "false"; });
    case serving::DataType::kInt32:
      return append_numbers<int32_t>(tensor.content, out, append_integer);
    case serving::DataType::kInt64:
      return append_numbers<int64_t>(tensor.content, out, append_integer);
    case serving::DataType::kFp32:
      return append_numbers<float>(tensor.content, out, append_float);
    case serving::DataType::kBytes:
      return append_strings(tensor.content, out);
  }
}

void append_tensor(const serving::OutputTensor& tensor, bool is_binary, std::string* out) {
  out->append(R"({"name":")").append(tensor.name).append(R"(","datatype":")").append(name_of(tensor.type));
  *out += R"(","shape":[)";
  for (size_t j = 0; j < tensor.shape.size(); ++j) {
    if (j > 0) *out += ',';
    append_integer(tensor.shape[j], out);
  }
  if (is_binary) {
    *out += R"(],"parameters":{"binary_data_size":)";
    append_integer(static_cast<int64_t>(tensor.content.size()), out);
    *out += "}}";
  } else {
    *out += R"(],"data":[)";
    append_data(tensor, out);
    *out += "]}";
  }
}

}  // namespace

Reply infer_reply(const ServedModel& model, const serving::Question& question, const WantedAnswer& wanted) {
  std::vector<std::string_view> names;
  for (const WantedAnswer::Output& output : wanted.outputs) names.push_back(output.name);
  const std::vector<serving::OutputTensor> tensors = serving::answer_tensors(question, names, model.bundle);
  const auto is_binary = [&wanted](size_t j) {
    return wanted.outputs.empty() ? wanted.is_binary : wanted.outputs[j].is_binary;
  };
  Reply reply;
  std::string& body = reply.body;
  body = R"({"model_name":)";
  append_string(model.name, &body);
  body += R"(,"model_version":")";
  append_integer(model.version, &body);
  body += '"';
  if (!wanted.id.empty()) {
    body += R"(,"id":)";
    append_string(wanted.id, &body);
  }
  body += R"(,"parameters":{")";
  body.append(serving::kModelParameter).append("\":");
  append_string(model.bundle.fingerprint(), &body);
  body += R"(},"outputs":[)";
  bool has_bytes = false;
  for (size_t j = 0; j < tensors.size(); ++j) {
    if (j > 0) body += ',';
    append_tensor(tensors[j], is_binary(j), &body);
    has_bytes |= is_binary(j);
  }
  body += "]}";
  if (!has_bytes) return reply;
  reply.content_type = "application/octet-stream";
  reply.headers.emplace_back("Inference-Header-Content-Length", std::to_string(body.size()));
  for (size_t j = 0; j < tensors.size(); ++j) {
    if (is_binary(j)) body += tensors[j].content;
  }
  return reply;
}

}  // namespace recblr::server
