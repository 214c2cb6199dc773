/* Questions as faces.py writes them, for the programs in C and in C++. */
#ifndef QUESTIONS_H_
#define QUESTIONS_H_

#include <recblr/recblr.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct question {
  int64_t k;
  int32_t exclude_seen, are_new_items, wants_states;
  int64_t n_floats; /* of states */
  float* states;
  recblr_ids items;
  int32_t has_exclude, has_only;
  recblr_ids exclude, only;
} question;

/* Reads the next one: words between blanks. 0 at the end of the file. */
int read_question(FILE* file, question* read);
void free_question(question* read);

/* The parts of an answer, as `answer_of` in faces.py reads them. */
void write_error(const char* message);
void write_rows(int64_t n_rows);
void write_ranking(const recblr_ranking* ranking);
void write_states(const float* states, int64_t n_floats);

#ifdef __cplusplus
}
#endif

#endif /* QUESTIONS_H_ */
