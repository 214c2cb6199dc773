// Answers questions through recblr.hpp: face_cpp BUNDLE < questions > answers.
#include <cstdio>
#include <recblr/recblr.hpp>
#include <string_view>
#include <vector>

#include "questions.h"

namespace {

// The same rows, as a caller in C++ makes them.
struct Rows {
  explicit Rows(const recblr_ids& ids) {
    for (int64_t row = 0; row < ids.n_rows; ++row) {
      const int64_t begin = ids.offsets[row], end = ids.offsets[row + 1];
      if (ids.type == RECBLR_INTEGER_IDS) {
        integers.add_row(recblr::Span<const int64_t>(ids.integers + begin, static_cast<size_t>(end - begin)));
        continue;
      }
      std::vector<std::string_view> words;
      for (int64_t j = begin; j < end; ++j) {
        words.emplace_back(ids.text + ids.text_offsets[j],
                           static_cast<size_t>(ids.text_offsets[j + 1] - ids.text_offsets[j]));
      }
      strings.add_row(words);
    }
    view = ids.type == RECBLR_INTEGER_IDS ? integers.view() : strings.view();
  }

  recblr::IntegerIds integers;
  recblr::StringIds strings;
  recblr_ids view{};
};

void answer(const recblr::Engine& engine, size_t state_size, const question& asked, recblr::Result* result) {
  const Rows items(asked.items), exclude(asked.exclude), only(asked.only);
  std::vector<float> new_states(asked.wants_states != 0 ? items.view.n_rows * state_size : 0);
  recblr::Request request(items.view);
  request.states = {asked.states, static_cast<size_t>(asked.n_floats)};
  request.new_states = {new_states.data(), new_states.size()};
  request.k = asked.k;
  request.exclude_seen = asked.exclude_seen != 0;
  if (asked.has_exclude != 0) request.exclude = exclude.view;
  if (asked.has_only != 0) request.only_ids = only.view;
  request.are_new_items = asked.are_new_items != 0;
  try {
    engine.recommend(request, result);
  } catch (const recblr::Error& error) {
    write_error(error.what());
    return;
  }
  write_rows(static_cast<int64_t>(result->n_rows()));
  for (size_t row = 0; row < result->n_rows(); ++row) {
    const recblr::Ranking ranking = result->row(row);
    std::vector<int64_t> integers, lengths;
    std::vector<const char*> strings;
    for (size_t j = 0; j < ranking.size(); ++j) {
      if (ranking.has_string_ids()) {
        strings.push_back(ranking.string(j).data());
        lengths.push_back(static_cast<int64_t>(ranking.string(j).size()));
      } else {
        integers.push_back(ranking.integer(j));
      }
    }
    const recblr_ranking written{static_cast<int64_t>(ranking.size()),
                                 integers.data(),
                                 ranking.has_string_ids() ? strings.data() : nullptr,
                                 lengths.data(),
                                 ranking.indices().data(),
                                 ranking.scores().data(),
                                 ranking.unknown(),
                                 ranking.popular() ? 1 : 0};
    write_ranking(&written);
  }
  write_states(new_states.data(), static_cast<int64_t>(new_states.size()));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const recblr::Bundle bundle(argc > 1 ? argv[1] : "");
    const recblr::Engine engine(bundle);
    recblr::Result result;
    for (question asked; read_question(stdin, &asked) != 0;) {
      answer(engine, static_cast<size_t>(bundle.state_size()), asked, &result);
      free_question(&asked);
    }
  } catch (const recblr::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
