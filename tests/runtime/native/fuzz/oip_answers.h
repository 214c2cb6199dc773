// What fuzz targets of the Open Inference Protocol's requests share: a model, and what must hold of what was read.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "serving/limits.h"
#include "serving/served.h"
#include "serving/tensors.h"

namespace recblr::serving {

inline const Served& fuzzed_model() {
  static const Served model = served();
  return model;
}

// A message is one short line, whatever the input holds.
inline void check_message(const Failure& failure) {
  if (failure.status != Status::kInvalidArgument || failure.message.empty() || failure.message.size() > 1000) abort();
  for (const char c : failure.message) {
    if (static_cast<unsigned char>(c) < 0x20) abort();
  }
}

// A question that was read is answered with tensors of the sizes that their shapes say, or refused.
inline void check_answers(const std::vector<std::string_view>& outputs, Question* question) {
  const Served& model = fuzzed_model();
  const QuestionLimits limits = {64, 256, 1024, 6, 64};
  question->timeout.reset();
  if (const auto checked = check_limits(*question, limits, model.bundle.n_items()); !checked) {
    return check_message(checked.error());
  }
  if (const auto asked = ask(model.bundle, model.engine, question); !asked) return check_message(asked.error());
  for (const OutputTensor& tensor : answer_tensors(*question, outputs, model.bundle)) {
    int64_t bytes = size_of(tensor.type);
    for (const int64_t size : tensor.shape) bytes *= size;
    if (tensor.shape[0] != question->n_users() || static_cast<int64_t>(tensor.content.size()) != bytes) abort();
  }
}

}  // namespace recblr::serving
