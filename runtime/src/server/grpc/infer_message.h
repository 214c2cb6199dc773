// Requests and answers of ModelInfer.
#pragma once

#include <string>
#include <vector>

#include "inference.pb.h"
#include "recblr/recblr.hpp"
#include "server/model/served_model.h"
#include "serving/question.h"

namespace recblr::server {

// `outputs` are the names that are wanted, views of the message. Fails with kInvalidArgument and one line that names
// what is wrong and what to do.
Expected<void> read_infer_message(const inference::ModelInferRequest& message, const Bundle& bundle,
                                  serving::Question* question, std::vector<std::string_view>* outputs);

// The answer, with its tensors as bytes.
void write_infer_message(const ServedModel& model, const serving::Question& question, const std::string& id,
                         const std::vector<std::string_view>& outputs, inference::ModelInferResponse* message);

}  // namespace recblr::server
