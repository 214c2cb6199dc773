// Writes an answer of the Open Inference Protocol over HTTP.
#pragma once

#include "server/http/message.h"
#include "server/model/served_model.h"
#include "server/oip/infer_request.h"
#include "serving/question.h"

namespace recblr::server {

// JSON; with bytes behind it, and the header that tells where they begin, where an output is wanted so.
Reply infer_reply(const ServedModel& model, const serving::Question& question, const WantedAnswer& wanted);

}  // namespace recblr::server
