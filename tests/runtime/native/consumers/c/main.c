/* Prints version, fingerprint, and the indices of the three best items for a user of whom nothing is known. */
#include <inttypes.h>
#include <recblr/recblr.h>
#include <stdio.h>

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, recblr_last_error());
  return 1;
}

int main(int argc, char** argv) {
  static const int64_t offsets[2] = {0, 0};
  recblr_bundle* bundle;
  recblr_engine* engine;
  recblr_result* result;
  recblr_request request = {0};
  recblr_ranking ranking;
  int64_t j;

  if (recblr_bundle_open(argc > 1 ? argv[1] : NULL, &bundle) != RECBLR_OK) return failed("bundle");
  if (recblr_engine_create(bundle, NULL, &engine) != RECBLR_OK) return failed("engine");
  if (recblr_result_create(&result) != RECBLR_OK) return failed("result");
  request.struct_size = sizeof request;
  request.items.type = RECBLR_INTEGER_IDS;
  request.items.n_rows = 1;
  request.items.offsets = offsets;
  request.k = 3;
  if (recblr_recommend(engine, &request, result) != RECBLR_OK) return failed("recommend");
  if (recblr_result_row(result, 0, &ranking) != RECBLR_OK) return failed("row");
  printf("%s %s", recblr_version(), recblr_bundle_fingerprint(bundle));
  for (j = 0; j < ranking.count; ++j) printf(" %" PRId32, ranking.indices[j]);
  printf("\n");
  recblr_result_free(result);
  recblr_engine_free(engine);
  recblr_bundle_free(bundle);
  return 0;
}
