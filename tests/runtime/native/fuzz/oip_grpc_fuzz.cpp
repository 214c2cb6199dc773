// Messages of ModelInfer.
#include <google/protobuf/stubs/logging.h>

#include "oip_answers.h"
#include "server/grpc/infer_message.h"

// libprotobuf's lines would be many.
static const google::protobuf::LogSilencer kSilence;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  inference::ModelInferRequest message;
  if (!message.ParseFromArray(data, static_cast<int>(size))) return 0;
  recblr::serving::Question question;
  std::vector<std::string_view> outputs;
  const auto read =
      recblr::server::read_infer_message(message, recblr::serving::fuzzed_model().bundle, &question, &outputs);
  if (read) {
    recblr::serving::check_answers(outputs, &question);
  } else {
    recblr::serving::check_message(read.error());
  }
  return 0;
}
