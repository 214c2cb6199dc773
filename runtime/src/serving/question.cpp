#include "serving/question.h"

#include <string>
#include <utility>

namespace recblr::serving {
namespace {

// What the engine is asked; a view of the question.
Request request_of(const Bundle& bundle, Question* question) {
  Request request(question->items.view());
  request.k = question->k.value_or(0);
  request.exclude_seen = question->exclude_seen;
  if (question->exclude) request.exclude = question->exclude->view();
  if (question->only) request.only_ids = question->only->view();
  request.timeout = question->timeout;
  request.may_run_here = question->may_run_here;
  request.states = question->states;
  request.are_new_items = !question->states.empty();
  question->new_states.resize(question->wants_states ? static_cast<size_t>(question->n_users() * bundle.state_size())
                                                     : 0);
  request.new_states = question->new_states;
  return request;
}

// Refuses what stands for a default in the C API.
Expected<void> check(const Bundle& bundle, const Question& question) {
  if (question.k == 0) {
    return Failure{Status::kInvalidArgument,
                   "k is 0: give a whole number from 1 to " + std::to_string(bundle.n_items())};
  }
  if (question.timeout == 0.0) return Failure{Status::kInvalidArgument, "timeout is 0: give seconds above 0"};
  return {};
}

}  // namespace

void Question::clear() {
  items.clear();
  exclude.reset();
  only.reset();
  k.reset();
  exclude_seen = true;
  timeout.reset();
  states.clear();
  wants_states = false;
  new_states.clear();
  may_run_here = false;
}

int64_t Question::n_ids() const {
  return items.n_ids() + (exclude ? exclude->n_ids() : 0) + (only ? only->n_ids() : 0);
}

bool is_short(const Question& question, const Bundle& bundle) {
  constexpr int64_t kFewIds = 128, kFewUsers = 8, kLargeCatalogue = 100'000;
  return question.n_ids() <= kFewIds && question.n_users() <= kFewUsers && bundle.n_items() < kLargeCatalogue;
}

Expected<void> ask(const Bundle& bundle, const Engine& engine, Question* question) {
  if (Expected<void> checked = check(bundle, *question); !checked) return checked;
  return engine.try_recommend(request_of(bundle, question), &question->result);
}

Expected<uint64_t> submit(const Bundle& bundle, const Engine& engine, Question* question,
                          std::function<void(Expected<void>)> done) {
  if (Expected<void> checked = check(bundle, *question); !checked) return checked.error();
  return engine.try_submit(request_of(bundle, question), &question->result, std::move(done));
}

}  // namespace recblr::serving
