#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "batching/direct.h"
#include "engine/encode.h"
#include "engine/popular.h"

namespace recblr {
namespace {

// The query vector of a new user is zero, of all others the output of a layer norm.
bool is_new(const float* state, int64_t state_size, int64_t dim) {
  return std::all_of(state + state_size - dim, state + state_size, [](float x) { return x == 0.0F; });
}

// Moves a row's items with scores above -inf to the front and returns how many there are. Throws where one is NaN.
int64_t count_ranked(const Row& row, int64_t number, const Bundle& bundle) {
  int64_t n = 0;
  for (int64_t j = 0; j < row.k; ++j) {
    const float score = row.top_scores[j];
    if (std::isnan(score)) {
      refuse(Code::kInvalidArgument, "row " + std::to_string(number) +
                                         ": the scores are not numbers; was its state made by model " +
                                         bundle.manifest().fingerprint + "?");
    }
    if (std::isinf(score) && score < 0) continue;
    row.top_items[n] = row.top_items[j];
    row.top_scores[n++] = score;
  }
  return n;
}

}  // namespace

Engine::Engine(std::shared_ptr<const Bundle> bundle, std::shared_ptr<const Backend> backend,
               const std::optional<BatchingSettings>& batching)
    : bundle_(std::move(bundle)) {
  if (batching.has_value()) {
    auto batcher = std::make_unique<Batcher>(std::move(backend), bundle_->state_size(), *batching);
    batcher_ = batcher.get();
    executor_ = std::move(batcher);
  } else {
    executor_ = std::make_unique<DirectExecutor>(std::move(backend), bundle_->state_size());
  }
}

Engine::~Engine() = default;

void Engine::answer(const Request& request, Work* work) {
  fork_guard_.check();
  encode(request, work);
  run(work, request.timeout);
  finish(work);
}

Ticket Engine::submit(const Request& request, Work* work, Done done) {
  fork_guard_.check();
  encode(request, work);
  if (work->n_rows == 0) {
    done(nullptr);
    return 0;
  }
  prepare(work);
  work->done = std::move(done);
  try {
    // Two pointers, which a std::function holds without memory of its own.
    return executor_->submit(
        work->rows.data(), work->n_rows,
        [this, work](const std::exception_ptr& error) { finish_submitted(work, error); }, request.timeout,
        request.may_run_here);
  } catch (...) {
    work->done = nullptr;
    throw;
  }
}

bool Engine::cancel(Ticket ticket) {
  fork_guard_.check();
  return ticket != 0 && executor_->cancel(ticket);
}

void Engine::encode(const Request& request, Work* work) const { encode_request(request, bundle_, work); }

void Engine::run(Work* work, std::optional<double> timeout) {
  fork_guard_.check();
  if (work->n_rows == 0) return;
  prepare(work);
  executor_->run(work->rows.data(), work->n_rows, timeout);
}

bool Engine::run_now(Work* work) {
  fork_guard_.check();
  prepare(work);
  return executor_->run_now(work->rows.data(), work->n_rows);
}

void Engine::prepare(Work* work) const {
  const auto n_rows = static_cast<size_t>(work->n_rows);
  const int64_t size = bundle_->state_size(), k = work->k;
  work->top_items.resize(n_rows * static_cast<size_t>(k));
  work->top_scores.resize(n_rows * static_cast<size_t>(k));
  work->counts.resize(n_rows);
  work->popular.resize(n_rows);
  work->rows.resize(n_rows);
  if (work->new_states == nullptr) {
    work->own_states.resize(n_rows * static_cast<size_t>(size));
    work->new_states = work->own_states.data();
  }
  for (size_t b = 0; b < n_rows; ++b) {
    const auto number = static_cast<int64_t>(b);
    Row& row = work->rows[b];
    row.items = work->items.data() + work->item_offsets[b];
    row.n_items = work->item_offsets[b + 1] - work->item_offsets[b];
    row.state_in = work->states == nullptr ? bundle_->initial_state().data() : work->states + number * size;
    row.state_out = work->new_states + number * size;
    row.exclude = {work->exclude.data() + work->exclude_offsets[b],
                   work->exclude_offsets[b + 1] - work->exclude_offsets[b]};
    row.has_only = !work->has_only.empty() && work->has_only[b] != 0;
    row.only = row.has_only ? work->allowed[b] : ItemList{};
    row.top_items = work->top_items.data() + number * k;
    row.top_scores = work->top_scores.data() + number * k;
    // Where no item is fed the query vector stays what it is.
    const bool is_popular = row.n_items == 0 && is_new(row.state_in, size, bundle_->dim());
    work->popular[b] = static_cast<uint8_t>(is_popular);
    row.k = is_popular ? 0 : k;
  }
}

void Engine::finish(Work* work) const {
  for (size_t b = 0; b < static_cast<size_t>(work->n_rows); ++b) {
    const Row& row = work->rows[b];
    work->counts[b] = work->popular[b] != 0 ? rank_popular(bundle_->vocabulary(), row, work->k)
                                            : count_ranked(row, static_cast<int64_t>(b), *bundle_);
  }
}

void Engine::finish_submitted(Work* work, const std::exception_ptr& error) const {
  std::exception_ptr failure = error;
  if (failure == nullptr) {
    try {
      finish(work);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  // `work` may go, or be used again, as soon as it is called.
  const Done done = std::exchange(work->done, nullptr);
  done(failure);
}

std::string Engine::description() const { return executor_->description(); }

std::optional<BatcherMetrics> Engine::metrics() const {
  if (batcher_ == nullptr) return std::nullopt;
  fork_guard_.check();
  return batcher_->metrics();
}

void Engine::close(bool drain, std::optional<double> timeout) {
  fork_guard_.check();
  executor_->close(drain, timeout);
}

}  // namespace recblr
