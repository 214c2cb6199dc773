// Bodies of POST /v2/models/{name}/infer that are JSON alone.
#include "oip_answers.h"
#include "server/oip/infer_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  recblr::serving::Question question;
  recblr::server::WantedAnswer wanted;
  const auto read = recblr::server::read_infer_request(body, std::nullopt, {}, recblr::serving::fuzzed_model().bundle,
                                                       &question, &wanted);
  if (!read) {
    recblr::serving::check_message(read.error());
    return 0;
  }
  std::vector<std::string_view> outputs;
  for (const auto& output : wanted.outputs) outputs.push_back(output.name);
  recblr::serving::check_answers(outputs, &question);
  return 0;
}
