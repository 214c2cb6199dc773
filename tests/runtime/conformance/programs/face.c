/* Answers questions through the C API: face_c BUNDLE < questions > answers. */
#include <recblr/recblr.h>
#include <stdlib.h>

#include "questions.h"

static void answer(recblr_engine* engine, int64_t state_size, const question* asked, recblr_result* result) {
  const int64_t n_floats = asked->wants_states ? asked->items.n_rows * state_size : 0;
  float* new_states = malloc((size_t)n_floats * sizeof(float) + 1);
  recblr_request request = {0};
  recblr_ranking ranking;
  int64_t row;
  if (new_states == NULL) abort();
  request.struct_size = sizeof request;
  request.items = asked->items;
  request.states = asked->n_floats == 0 ? NULL : asked->states;
  request.new_states = asked->wants_states ? new_states : NULL;
  request.k = asked->k;
  request.exclude_seen = asked->exclude_seen;
  request.exclude = asked->has_exclude ? &asked->exclude : NULL;
  request.only_ids = asked->has_only ? &asked->only : NULL;
  request.n_only = asked->has_only;
  request.are_new_items = asked->are_new_items;
  if (recblr_recommend(engine, &request, result) != RECBLR_OK) {
    write_error(recblr_last_error());
  } else {
    write_rows(recblr_result_n_rows(result));
    for (row = 0; row < recblr_result_n_rows(result); ++row) {
      if (recblr_result_row(result, row, &ranking) != RECBLR_OK) abort();
      write_ranking(&ranking);
    }
    write_states(new_states, n_floats);
  }
  free(new_states);
}

int main(int argc, char** argv) {
  recblr_bundle* bundle;
  recblr_engine* engine;
  recblr_result* result;
  question asked;
  if (recblr_bundle_open(argc > 1 ? argv[1] : NULL, &bundle) != RECBLR_OK ||
      recblr_engine_create(bundle, NULL, &engine) != RECBLR_OK || recblr_result_create(&result) != RECBLR_OK) {
    fprintf(stderr, "%s\n", recblr_last_error());
    return 1;
  }
  while (read_question(stdin, &asked)) {
    answer(engine, recblr_bundle_state_size(bundle), &asked, result);
    free_question(&asked);
  }
  recblr_result_free(result);
  recblr_engine_free(engine);
  recblr_bundle_free(bundle);
  return 0;
}
