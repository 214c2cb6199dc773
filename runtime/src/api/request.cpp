#include "api/request.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/result.h"

using recblr::api::guarded;
using recblr::api::guarded_or;
using recblr::api::not_null;

namespace {

[[noreturn]] void refuse_argument(const std::string& message) {
  throw recblr::Error(recblr::Code::kInvalidArgument, message);
}

void read_only(const recblr_request& given, recblr_result* result, recblr::api::ReadRequest* read) {
  if (given.n_only == 0) return;
  if (given.n_only < 0 || (given.only_per_row == 0 && given.n_only != 1)) {
    refuse_argument("n_only is " + std::to_string(given.n_only) +
                    ": give 0, 1 for all rows, or one for each row with only_per_row");
  }
  if (given.only_ids != nullptr) {
    read->only = recblr::api::checked_ids(*given.only_ids, "only_ids", &result->only_strangers);
    if (read->only.n_rows != given.n_only) {
      refuse_argument("only_ids has " + std::to_string(read->only.n_rows) + " rows, but n_only is " +
                      std::to_string(given.n_only));
    }
  }
  result->lists.clear();
  for (int64_t j = 0; j < given.n_only; ++j) {
    const bool has_list = given.only_lists != nullptr && given.only_lists[j] != nullptr;
    const bool has_all = given.only_all != nullptr && given.only_all[j] != 0;
    if (!has_list && !has_all && given.only_ids == nullptr) {
      refuse_argument("entry " + std::to_string(j) + " of only has neither a list nor only_all, and only_ids is NULL");
    }
    if (given.only_lists != nullptr) {
      result->lists.push_back(has_list ? &given.only_lists[j]->list : nullptr);
    }
  }
  recblr::Only& only = read->request.only;
  only.per_row = given.only_per_row != 0;
  only.ids = given.only_ids == nullptr ? nullptr : &read->only;
  only.all = given.only_all;
  only.lists = given.only_lists == nullptr ? nullptr : result->lists.data();
  only.n_entries = given.n_only;
}

void check_overlap(const recblr_request& given, const recblr::Bundle& bundle) {
  if (given.states == nullptr || given.new_states == nullptr) return;
  const auto size = static_cast<uintptr_t>(given.items.n_rows * bundle.state_size()) * sizeof(float);
  const auto from = reinterpret_cast<uintptr_t>(given.states), to = reinterpret_cast<uintptr_t>(given.new_states);
  if (from < to + size && to < from + size) {
    refuse_argument("new_states overlaps with states: give memory of its own, as a run that fails may be repeated");
  }
}

// The result of a request that was submitted is there, or `error` says why it is not.
void finish(recblr_result* result, const std::exception_ptr& error) {
  recblr_status status = RECBLR_OK;
  if (error == nullptr) {
    status = guarded([=] { recblr::api::decode(result); });
  } else {
    status = recblr::api::status_of(error);
  }
  const recblr_done done = result->done;
  void* const context = result->context;
  recblr::api::release(result, status == RECBLR_OK);
  done(context, status);  // which may free the result
}

}  // namespace

void recblr::api::read_request(const recblr_request* request, const recblr::Bundle& bundle, recblr_result* result,
                               ReadRequest* read) {
  const auto given = recblr::api::read_struct(request, "request", offsetof(recblr_request, states));
  read->items = recblr::api::checked_ids(given.items, "items", &result->item_strangers);
  recblr::Request& filled = read->request;
  filled.items = &read->items;
  filled.items_name = given.are_new_items != 0 ? "new_items" : "histories";
  filled.may_run_here = given.may_run_here != 0;
  check_overlap(given, bundle);
  filled.states = given.states;
  filled.new_states = given.new_states;
  filled.exclude_seen = given.exclude_seen != 0;
  if (given.exclude != nullptr) {
    read->exclude = recblr::api::checked_ids(*given.exclude, "exclude", &result->exclude_strangers);
    filled.exclude = &read->exclude;
  }
  read_only(given, result, read);
  filled.k = given.k;
  if (given.timeout != 0) filled.timeout = given.timeout;
}

extern "C" {

recblr_status recblr_recommend(recblr_engine* engine, const recblr_request* request, recblr_result* result) {
  return guarded([=] {
    recblr::Engine& made = *not_null(engine, "engine")->engine;
    recblr::api::claim(result);
    try {
      recblr::api::ReadRequest read;
      recblr::api::read_request(request, *made.bundle(), result, &read);
      result->bundle = made.bundle();
      made.answer(read.request, &result->work);
      recblr::api::decode(result);
    } catch (...) {
      recblr::api::release(result, false);
      throw;
    }
    recblr::api::release(result, true);
  });
}

recblr_status recblr_submit(recblr_engine* engine, const recblr_request* request, recblr_result* result,
                            recblr_done done, void* context, uint64_t* ticket) {
  return guarded([=] {
    recblr::Engine& made = *not_null(engine, "engine")->engine;
    not_null(done, "done");
    recblr::api::claim(result);
    try {
      recblr::api::ReadRequest read;
      recblr::api::read_request(request, *made.bundle(), result, &read);
      result->bundle = made.bundle();
      result->done = done;
      result->context = context;
      const recblr::Ticket given = made.submit(read.request, &result->work,
                                               [result](const std::exception_ptr& error) { finish(result, error); });
      if (ticket != nullptr) *ticket = given;
    } catch (...) {
      recblr::api::release(result, false);
      throw;
    }
  });
}
}
