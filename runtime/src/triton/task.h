// One request of Triton's under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "recblr/recblr.hpp"
#include "serving/question.h"
#include "triton/config.h"
#include "triton/triton_api.h"

namespace recblr::triton {

// The requests that one call of the server brought, for its statistics. Times are the steady clock's, in nanoseconds.
struct Batch {
  uint64_t began = 0, submitted = 0;
  std::atomic<uint32_t> left{0}, answered{0};
};

// Used again, for its memory.
struct Task {
  TRITONBACKEND_Request* request = nullptr;
  std::shared_ptr<Batch> batch;
  serving::Question question;
  std::vector<std::string_view> outputs;  // asked for; the request's memory

  // Fills the question from `request`. What is wrong with the request is in the result, faults of Triton's are thrown.
  Expected<void> read(const Bundle& bundle, const Settings& settings);
  // Puts the answered question into a response. Throws Error.
  void write(const Bundle& bundle, TRITONBACKEND_Response* response) const;
};

}  // namespace recblr::triton
