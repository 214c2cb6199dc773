#include "api/result.h"

#include <string>

#include "api/guard.h"

using recblr::api::guarded;
using recblr::api::guarded_or;
using recblr::api::not_null;

namespace recblr::api {

void claim(recblr_result* result) {
  if (not_null(result, "result")->is_busy.exchange(true)) {
    refuse(Code::kInvalidArgument, "result is in use by a request that is not answered yet: give each its own");
  }
  result->is_answered = false;
}

void release(recblr_result* result, bool is_answered) {
  result->is_answered = is_answered;
  result->is_busy.store(false);
}

void decode(recblr_result* result) {
  const Vocabulary& vocabulary = result->bundle->vocabulary();
  const Work& work = result->work;
  const bool is_integer = vocabulary.type() == IdType::kInteger;
  const size_t size = work.top_items.size();
  if (is_integer) {
    result->integers.resize(size);
  } else {
    result->strings.resize(size);
    result->lengths.resize(size);
  }
  for (int64_t b = 0; b < work.n_rows; ++b) {
    const Ranking ranking = work.ranking(b);
    auto place = static_cast<size_t>(b * work.k);
    for (int64_t j = 0; j < ranking.count; ++j, ++place) {
      if (is_integer) {
        result->integers[place] = vocabulary.integer(ranking.items[j]);
      } else {
        const std::string_view string = vocabulary.string(ranking.items[j]);
        result->strings[place] = string.data();
        result->lengths[place] = static_cast<int64_t>(string.size());
      }
    }
  }
}

}  // namespace recblr::api

namespace {

const recblr_result& answered(const recblr_result* result) {
  not_null(result, "result");
  if (result->is_busy.load() || !result->is_answered) {
    refuse(recblr::Code::kInvalidArgument, "result holds no answer: wait for a request that succeeds");
  }
  return *result;
}

}  // namespace

extern "C" {

recblr_status recblr_result_create(recblr_result** result) {
  return guarded([=] {
    *not_null(result, "result") = nullptr;
    *result = new recblr_result;
  });
}

void recblr_result_free(recblr_result* result) { delete result; }

recblr_status recblr_result_clear(recblr_result* result) {
  return guarded([=] {
    recblr::api::claim(result);
    result->bundle.reset();
    result->work.held.clear();
    recblr::api::release(result, false);
  });
}

int64_t recblr_result_n_rows(const recblr_result* result) {
  return guarded_or<int64_t>(0, [=] { return answered(result).work.n_rows; });
}

const char* recblr_result_fingerprint(const recblr_result* result) {
  return guarded_or("", [=] { return answered(result).bundle->manifest().fingerprint.c_str(); });
}

recblr_status recblr_result_row(const recblr_result* result, int64_t row, recblr_ranking* ranking) {
  return guarded([=] {
    const recblr_result& answer = answered(result);
    not_null(ranking, "ranking");
    if (row < 0 || row >= answer.work.n_rows) {
      refuse(recblr::Code::kInvalidArgument,
             "row is " + std::to_string(row) + " of " + std::to_string(answer.work.n_rows));
    }
    const recblr::Ranking found = answer.work.ranking(row);
    const bool is_integer = answer.bundle->vocabulary().type() == recblr::IdType::kInteger;
    const int64_t place = row * answer.work.k;
    ranking->count = found.count;
    ranking->integers = is_integer ? answer.integers.data() + place : nullptr;
    ranking->strings = is_integer ? nullptr : answer.strings.data() + place;
    ranking->lengths = is_integer ? nullptr : answer.lengths.data() + place;
    ranking->indices = found.items;
    ranking->scores = found.scores;
    ranking->unknown = found.unknown;
    ranking->popular = static_cast<int32_t>(found.popular);
  });
}
}
