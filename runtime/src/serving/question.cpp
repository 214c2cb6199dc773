#include "serving/question.h"

#include <algorithm>
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

int64_t Question::n_results() const {
  size_t n = 0;
  for (size_t b = 0; b < result.n_rows(); ++b) n += result.row(b).size();
  return static_cast<int64_t>(n);
}

size_t Question::kept_bytes() const {
  constexpr size_t kBytesPerResult = 64, kBytesPerUser = 1024;  // about, of the library's
  const size_t ids = items.kept_bytes() + (exclude ? exclude->kept_bytes() : 0) + (only ? only->kept_bytes() : 0);
  return ids + (states.capacity() + new_states.capacity()) * sizeof(float) +
         static_cast<size_t>(n_results()) * kBytesPerResult + static_cast<size_t>(n_users()) * kBytesPerUser;
}

bool is_short(const Question& question, const Bundle& bundle) {
  constexpr int64_t kFewIds = 128, kFewUsers = 8, kFewNumbers = 1024;
  const int64_t n_users = question.n_users(), n_items = bundle.n_items();
  if (n_users > kFewUsers || question.n_ids() > kFewIds || n_items >= RECBLR_LARGE_CATALOGUE) return false;
  const int64_t n_results = std::min(question.k.value_or(kDefaultK), n_items);
  const bool has_states = !question.states.empty() || question.wants_states;
  return n_users * (n_results + (has_states ? bundle.state_size() : 0)) <= kFewNumbers;
}

Expected<void> check_values(const Question& question, int64_t n_items) {
  if (question.k == 0) {
    return Failure{Status::kInvalidArgument, "k is 0: give a whole number from 1 to " + std::to_string(n_items)};
  }
  if (question.timeout == 0.0) return Failure{Status::kInvalidArgument, "timeout is 0: give seconds above 0"};
  return {};
}

Expected<void> ask(const Bundle& bundle, const Engine& engine, Question* question) {
  if (Expected<void> checked = check_values(*question, bundle.n_items()); !checked) return checked;
  return engine.try_recommend(request_of(bundle, question), &question->result);
}

Expected<uint64_t> submit(const Bundle& bundle, const Engine& engine, Question* question,
                          std::function<void(Expected<void>)> done) {
  if (Expected<void> checked = check_values(*question, bundle.n_items()); !checked) return checked.error();
  return engine.try_submit(request_of(bundle, question), &question->result, std::move(done));
}

}  // namespace recblr::serving
