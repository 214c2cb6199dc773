#include "server/oip/descriptions.h"

#include <vector>

#include "server/answer/json_text.h"
#include "serving/tensors.h"

namespace recblr::server {
namespace {

void append_tensors(const std::vector<serving::TensorMetadata>& tensors, std::string* out) {
  *out += '[';
  for (const serving::TensorMetadata& tensor : tensors) {
    if (out->back() != '[') *out += ',';
    out->append(R"({"name":")").append(tensor.name).append(R"(","datatype":")").append(name_of(tensor.type));
    *out += R"(","shape":[)";
    for (size_t j = 0; j < tensor.shape.size(); ++j) {
      if (j > 0) *out += ',';
      append_integer(tensor.shape[j], out);
    }
    *out += "]}";
  }
  *out += ']';
}

void append_duration(const char* name, const OipStatistics::Duration& duration, std::string* out) {
  if (out->back() != '{') *out += ',';
  *out += '"';
  *out += name;
  *out += R"(":{"count":)";
  append_integer(duration.count, out);
  *out += R"(,"ns":)";
  append_integer(duration.nanoseconds, out);
  *out += '}';
}

}  // namespace

std::string server_metadata_text() {
  std::string text = R"({"name":"recblr","version":)";
  append_string(recblr_version(), &text);
  return text + R"(,"extensions":["binary_tensor_data","statistics"]})";
}

std::string model_metadata_text(const ServedModel& model) {
  std::string text = R"({"name":)";
  append_string(model.name, &text);
  text += R"(,"versions":[")" + std::to_string(model.version) + R"("],"platform":"recblr","inputs":)";
  append_tensors(serving::input_metadata(model.bundle), &text);
  text += R"(,"outputs":)";
  append_tensors(serving::output_metadata(model.bundle), &text);
  return text + '}';
}

std::string statistics_text(const ServedModel& model, const OipStatistics& statistics) {
  const OipStatistics::Snapshot counted = statistics.of(model);
  std::string text = R"({"model_stats":[{"name":)";
  append_string(model.name, &text);
  text += R"(,"version":")" + std::to_string(model.version) + R"(","last_inference":)";
  append_integer(counted.last_inference, &text);
  text += R"(,"inference_count":)";
  append_integer(counted.inference_count, &text);
  text += R"(,"execution_count":)";
  append_integer(counted.compute_infer.count, &text);
  text += R"(,"inference_stats":{)";
  append_duration("success", counted.success, &text);
  append_duration("fail", counted.fail, &text);
  append_duration("queue", counted.queue, &text);
  append_duration("compute_input", counted.compute_input, &text);
  append_duration("compute_infer", counted.compute_infer, &text);
  append_duration("compute_output", counted.compute_output, &text);
  return text + R"(},"batch_stats":[]}]})";
}

std::string repository_index_text(const ServedModel* model, bool is_ready) {
  if (model == nullptr) return "[]";
  std::string text = R"([{"name":)";
  append_string(model->name, &text);
  text += R"(,"version":")" + std::to_string(model->version) + R"(","state":")";
  return text + (is_ready ? "READY" : "UNAVAILABLE") + R"(","reason":""}])";
}

}  // namespace recblr::server
