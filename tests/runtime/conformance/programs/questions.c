#include "questions.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static char* word; /* the last one read */
static size_t capacity;

static int read_word(FILE* file) {
  size_t size = 0;
  int c = fgetc(file);
  while (c != EOF && isspace(c)) c = fgetc(file);
  if (c == EOF) return 0;
  for (; c != EOF && !isspace(c); c = fgetc(file)) {
    if (size + 2 > capacity) {
      capacity = 2 * capacity + 64;
      word = realloc(word, capacity);
      if (word == NULL) abort();
    }
    word[size++] = (char)c;
  }
  word[size] = '\0';
  return 1;
}

static int64_t read_number(FILE* file) {
  if (!read_word(file)) abort();
  return strtoll(word, NULL, 10);
}

static void* memory_of(size_t size) {
  void* memory = malloc(size + 1);
  if (memory == NULL) abort();
  return memory;
}

/* The bytes of hex digits, from `digits` on. */
static size_t from_hex(const char* digits, unsigned char* bytes) {
  const size_t size = strlen(digits) / 2;
  size_t j;
  unsigned value;
  for (j = 0; j < size; ++j) {
    if (sscanf(digits + 2 * j, "%2x", &value) != 1) abort();
    bytes[j] = (unsigned char)value;
  }
  return size;
}

static void read_ids(FILE* file, recblr_ids* ids) {
  int64_t* offsets;
  int64_t j, n;
  memset(ids, 0, sizeof *ids);
  ids->type = (int32_t)read_number(file);
  ids->n_rows = read_number(file);
  offsets = memory_of((size_t)(ids->n_rows + 1) * sizeof *offsets);
  offsets[0] = 0;
  for (j = 0; j < ids->n_rows; ++j) offsets[j + 1] = offsets[j] + read_number(file);
  ids->offsets = offsets;
  n = offsets[ids->n_rows];
  if (ids->type == RECBLR_INTEGER_IDS) {
    int64_t* integers = memory_of((size_t)n * sizeof *integers);
    for (j = 0; j < n; ++j) integers[j] = read_number(file);
    ids->integers = integers;
  } else {
    int64_t* text_offsets = memory_of((size_t)(n + 1) * sizeof *text_offsets);
    char* text = memory_of(0);
    text_offsets[0] = 0;
    for (j = 0; j < n; ++j) {
      if (!read_word(file)) abort();
      text = realloc(text, (size_t)text_offsets[j] + strlen(word) + 1);
      if (text == NULL) abort();
      text_offsets[j + 1] =
          text_offsets[j] + (int64_t)from_hex(word + 1, (unsigned char*)text + text_offsets[j]); /* behind an x */
    }
    ids->text = text;
    ids->text_offsets = text_offsets;
  }
}

static void free_ids(recblr_ids* ids) {
  free((void*)ids->offsets);
  free((void*)ids->integers);
  free((void*)ids->text);
  free((void*)ids->text_offsets);
}

int read_question(FILE* file, question* read) {
  memset(read, 0, sizeof *read);
  if (!read_word(file)) return 0;
  read->k = strtoll(word, NULL, 10);
  read->exclude_seen = (int32_t)read_number(file);
  read->are_new_items = (int32_t)read_number(file);
  read->wants_states = (int32_t)read_number(file);
  if (!read_word(file)) abort();
  read->states = memory_of(strlen(word));
  read->n_floats = (int64_t)(from_hex(word + 1, (unsigned char*)read->states) / sizeof(float));
  read_ids(file, &read->items);
  read->has_exclude = (int32_t)read_number(file);
  if (read->has_exclude) read_ids(file, &read->exclude);
  read->has_only = (int32_t)read_number(file);
  if (read->has_only) read_ids(file, &read->only);
  return 1;
}

void free_question(question* read) {
  free(read->states);
  free_ids(&read->items);
  free_ids(&read->exclude);
  free_ids(&read->only);
}

void write_error(const char* message) { printf("error %s\n", message); }

void write_rows(int64_t n_rows) { printf("rankings %" PRId64 "\n", n_rows); }

static void write_float(float number) {
  uint32_t bits;
  memcpy(&bits, &number, sizeof bits);
  printf("%08" PRIx32, bits);
}

void write_ranking(const recblr_ranking* ranking) {
  int64_t j, n;
  printf("%" PRId64 " %" PRId32, ranking->unknown, ranking->popular);
  for (j = 0; j < ranking->count; ++j) {
    printf(" ");
    if (ranking->strings == NULL) {
      printf("%" PRId64, ranking->integers[j]);
    } else {
      printf("x");
      for (n = 0; n < ranking->lengths[j]; ++n) printf("%02x", (unsigned char)ranking->strings[j][n]);
    }
    printf(":");
    write_float(ranking->scores[j]);
  }
  printf("\n");
}

void write_states(const float* states, int64_t n_floats) {
  int64_t j;
  printf("states ");
  for (j = 0; j < n_floats; ++j) write_float(states[j]);
  printf("\n");
}
