/* The C API of librecblr: recommendations from a bundle, without Python.
 *
 *   recblr_bundle* bundle;  recblr_engine* engine;  recblr_result* result;
 *   recblr_bundle_open("bundle/", &bundle);
 *   recblr_engine_create(bundle, NULL, &engine);
 *   recblr_result_create(&result);
 *   recblr_recommend(engine, &request, result);
 *
 * Handles: what a *_create or *_open function gives is the caller's and is given back to the *_free of the same name;
 * NULL is allowed there. A handle may be freed while others made of it are in use: an engine keeps its bundle.
 *
 * Threads: any thread may call any function at any time, on the same handles too, but a result belongs to one request
 * at a time, and nothing may use a handle that is freed. After a fork, engines, stores and recommenders of the parent
 * give RECBLR_FORKED: make them after the fork.
 *
 * Errors: functions return a status, RECBLR_OK or what is wrong; recblr_last_error then says it in one line, with the
 * value and what to do. Outputs are not to be used after anything but RECBLR_OK. NULL where something is needed is
 * RECBLR_INVALID_ARGUMENT; of functions that return no status, recblr_last_error, and 0, "" or NULL.
 *
 * Structures of options begin with struct_size, sizeof the structure as the caller's compiler sees it, so that later
 * versions add fields at the end; others never grow. 0 in a field means its default unless it says otherwise. A field
 * that is set and that the library is too old to know is RECBLR_UNSUPPORTED. Text is UTF-8. Nothing that is passed in
 * is kept after the call, unless a function says so.
 *
 * Dimensions: B rows (users), S numbers of a state, V items, D the size of a query vector.
 */
#ifndef RECBLR_RECBLR_H_
#define RECBLR_RECBLR_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RECBLR_API __attribute__((visibility("default")))
#else
#define RECBLR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t recblr_status;
#define RECBLR_OK 0
#define RECBLR_INVALID_ARGUMENT 1 /* a request that cannot be answered */
#define RECBLR_BAD_CONFIG 2       /* a setting out of its range */
#define RECBLR_BAD_BUNDLE 3       /* no bundle, or an incomplete or altered one */
#define RECBLR_STORE_FAILED 4     /* a store of histories that cannot be reached, is full or fails */
#define RECBLR_OVERLOADED 5       /* refused, as too many requests wait; nothing of it was done */
#define RECBLR_DEADLINE 6         /* the request's time ran out before it was answered */
#define RECBLR_CLOSED 7           /* the engine, store or recommender is closed */
#define RECBLR_BACKEND_FAILED 8   /* what runs the model failed */
#define RECBLR_FORKED 9           /* used in a process that was forked after it was made */
#define RECBLR_OUT_OF_MEMORY 10
#define RECBLR_UNSUPPORTED 11 /* this build or this machine cannot do it */
#define RECBLR_CANCELLED 12   /* the caller withdrew the request */
#define RECBLR_INTERNAL 13    /* a fault of this library */

/* The library's version, as a static string, such as "0.1.0". */
RECBLR_API const char* recblr_version(void);

/* What was wrong with this thread's last call that did not return RECBLR_OK: one line. Never NULL; valid until the
 * thread's next call. */
RECBLR_API const char* recblr_last_error(void);

/* How many CPUs this process may use: its affinity, and the quota of its control group. */
RECBLR_API int32_t recblr_usable_cpus(void);

/* ---- Ids ---- */

#define RECBLR_INTEGER_IDS 0
#define RECBLR_STRING_IDS 1

/* Values that are no ids at all, such as None in Python: counted as unknown, and an error in a row of which no id is
 * known. `shown`, `type` and `advice` word the message for the first of them; advice may be NULL. */
typedef struct recblr_strangers {
  int64_t row;
  int64_t count;
  int64_t before; /* ids of the row before the first of them */
  const char* shown;
  const char* type;
  const char* advice;
} recblr_strangers;

/* Rows of item ids. Row b has the ids offsets[b] to offsets[b+1]-1. An integer and the text of its canonical decimal
 * form, 25 and "25", are one id. */
typedef struct recblr_ids {
  int32_t type; /* RECBLR_INTEGER_IDS or RECBLR_STRING_IDS */
  int64_t n_rows;
  const int64_t* offsets;            /* [n_rows+1], from 0, not falling */
  const int64_t* integers;           /* RECBLR_INTEGER_IDS: [offsets[n_rows]] */
  const char* text;                  /* RECBLR_STRING_IDS: all strings, one after another */
  const int64_t* text_offsets;       /* RECBLR_STRING_IDS: [offsets[n_rows]+1], of bytes in `text` */
  const recblr_strangers* strangers; /* [n_strangers], rows ascending, one for a row at most */
  int64_t n_strangers;
} recblr_ids;

/* ---- Bundles ---- */

typedef struct recblr_bundle recblr_bundle;

/* Opens and verifies a bundle: the folder that recblr-export wrote, or a file in it. What later happens to the files
 * changes nothing. */
RECBLR_API recblr_status recblr_bundle_open(const char* path, recblr_bundle** bundle);
RECBLR_API void recblr_bundle_free(recblr_bundle* bundle);

/* Of an open bundle, and valid as long as it is: its folder, and its manifest.json as text. */
RECBLR_API const char* recblr_bundle_path(const recblr_bundle* bundle);
RECBLR_API const char* recblr_bundle_manifest(const recblr_bundle* bundle);
/* "sha256:<hex>" names the model; states belong to one fingerprint. */
RECBLR_API const char* recblr_bundle_fingerprint(const recblr_bundle* bundle);
RECBLR_API int64_t recblr_bundle_n_items(const recblr_bundle* bundle);    /* V */
RECBLR_API int64_t recblr_bundle_state_size(const recblr_bundle* bundle); /* S */
RECBLR_API int64_t recblr_bundle_dim(const recblr_bundle* bundle); /* D: a state's last D numbers are the query */
RECBLR_API int32_t recblr_bundle_id_type(const recblr_bundle* bundle);
/* float32 [S], the state of a user of whom nothing is known. */
RECBLR_API const float* recblr_bundle_initial_state(const recblr_bundle* bundle);

/* The id of an index from 1 to V: *integer, or *text of *length bytes, which is NUL-terminated besides. Outputs may be
 * NULL. */
RECBLR_API recblr_status recblr_bundle_item(const recblr_bundle* bundle, int32_t index, int64_t* integer,
                                            const char** text, int64_t* length, int64_t* count);

/* The indices of the ids that the model knows: indices [at most as many as there are ids], row b's from
 * index_offsets[b] on, [B+1]; unknown [B] how many others were skipped. `name` of the argument is for messages. */
RECBLR_API recblr_status recblr_bundle_encode(const recblr_bundle* bundle, const recblr_ids* ids, const char* name,
                                              int32_t* indices, int64_t* index_offsets, int64_t* unknown);

/* ---- Engines ---- */

typedef struct recblr_engine recblr_engine;

/* Merges the requests of concurrent callers. */
typedef struct recblr_batching {
  size_t struct_size;
  int64_t max_batch_rows;   /* of one run; 0: 64 */
  int64_t max_batch_tokens; /* items of one run, 0: 2560; a longer row is fed in pieces */
  /* So many rows, 0: 32, or items, 0: 96, are a batch that waits for no more; of 100,000 items or more, where it is 0,
   * only a full one is. */
  int64_t enough_rows;
  int64_t enough_tokens;
  double max_delay;          /* seconds that a batch waits for more */
  int64_t max_queued_rows;   /* that may wait; 0: 4096 */
  int64_t max_queued_tokens; /* 0: 1048576 */
  double timeout;            /* seconds that a request may wait for its run; 0: without bound */
  int32_t workers;           /* runs at once, at most RECBLR_MAX_THREADS; 0: one per CPU for their threads */
} recblr_batching;

/* A run for a backend of the caller's, on arrays; see recblr_backend. */
typedef struct recblr_backend_run {
  size_t struct_size;
  int64_t n_rows;         /* B, at least 1 */
  int64_t n_items;        /* N */
  int64_t n_exclude;      /* M */
  int64_t k;              /* results per row, from 1 to max_k; 0 for the states alone */
  const int32_t* items;   /* [N] from 1 to V, row after row */
  const int32_t* offsets; /* [B+1]; a row may be empty */
  const float* state_in;  /* [B, S] */
  const int32_t* exclude; /* [M, 2] of (row, item) not to be ranked, rows ascending */
  float* state_out;       /* [B, S] to be written */
  int32_t* top_items;     /* [B, k] to be written: best first */
  float* top_scores;      /* [B, k]; -inf where there are no more items */
} recblr_backend_run;

/* Runs a bundle's model in the caller's code. What it gives is checked: items that the catalogue does not have or that
 * are excluded, scores that rise or are no numbers are RECBLR_BACKEND_FAILED. A run of several rows that fails is
 * repeated in halves, unless it gives RECBLR_CANCELLED, RECBLR_CLOSED or RECBLR_FORKED. `run` is called from any
 * thread, from several at once; where it fails it calls recblr_set_error and returns that status. No exception may
 * leave it. */
typedef struct recblr_backend {
  size_t struct_size;
  void* context;
  recblr_status (*run)(void* context, const recblr_backend_run* run);
  void (*release)(void* context); /* called once, when the engine is gone; not where making it fails; may be NULL */
  const char* description;        /* for people */
  int64_t max_k;                  /* that it ranks; 0: it computes states alone. More is ranked by the library */
  int64_t max_rows;               /* of a run, 0: 256 */
  int64_t max_tokens;             /* 0: 65536 */
  int64_t max_exclusions;         /* 0: 65536 */
} recblr_backend;

/* Sets what recblr_last_error of this thread says, for a callback that returns `status`. Returns it. */
RECBLR_API recblr_status recblr_set_error(recblr_status status, const char* message);

#define RECBLR_MAX_THREADS 1024 /* of one run on the CPU */
/* From so many items on, ranking the catalogue is most of a run. */
#define RECBLR_LARGE_CATALOGUE 100000

typedef struct recblr_engine_options {
  size_t struct_size;
  /* Of one run on the CPU. 0: one per usable CPU; 1 with batching, unless RECBLR_LARGE_CATALOGUE items or more have to
   * be ranked. */
  int32_t threads;
  const recblr_batching* batching; /* NULL: each request runs by itself, in its caller's thread */
  const recblr_backend* backend;   /* NULL: the library's own kernels on the CPU */
} recblr_engine_options;

/* Makes an engine; `options` may be NULL. */
RECBLR_API recblr_status recblr_engine_create(recblr_bundle* bundle, const recblr_engine_options* options,
                                              recblr_engine** engine);
/* Closes it first, draining for at most ten seconds, if recblr_engine_close did not. In a fork it leaves the parent's
 * threads alone. */
RECBLR_API void recblr_engine_free(recblr_engine* engine);

/* Takes no more requests; with drain those taken are still answered, otherwise those that do not run yet fail. Returns
 * when nothing runs any more, or after `timeout` seconds (negative: without bound), when the rest has failed, too. */
RECBLR_API recblr_status recblr_engine_close(recblr_engine* engine, int32_t drain, double timeout);

/* What runs the model and how, for people; valid as long as the engine. */
RECBLR_API const char* recblr_engine_description(const recblr_engine* engine);

/* ---- Requests ---- */

/* Items to choose from, looked up once for each model and not for each request. Threads may share one. */
typedef struct recblr_allow_list recblr_allow_list;
RECBLR_API recblr_status recblr_allow_list_create(const recblr_ids* ids, recblr_allow_list** list); /* of one row */
RECBLR_API void recblr_allow_list_free(recblr_allow_list* list);
RECBLR_API int64_t recblr_allow_list_size(const recblr_allow_list* list);

typedef struct recblr_request {
  size_t struct_size;
  recblr_ids items;     /* B rows: per user the history, oldest first, or what is new since the state */
  const float* states;  /* [B, S] as an earlier request wrote them, of a model of the same fingerprint; NULL: all new */
  float* new_states;    /* [B, S] to be written, not `states`; NULL where they are not wanted */
  int64_t k;            /* results per user, from 1 to V; 0: 10, or all items of a smaller catalogue */
  int32_t exclude_seen; /* 1: leave out the items of the row */
  const recblr_ids* exclude; /* B rows of ids to leave out besides; NULL: none */
  /* The ids that may be ranked: entries for all rows (n_only = 1), or one for each row (n_only = B and only_per_row);
   * 0: all items. An entry is a list of only_lists where that is not NULL, or all items where only_all is 1, or a row
   * of only_ids. */
  int64_t n_only;
  int32_t only_per_row;
  const recblr_ids* only_ids;
  const uint8_t* only_all;                    /* [n_only], or NULL */
  const recblr_allow_list* const* only_lists; /* [n_only], or NULL */
  double timeout;                             /* seconds that it may wait; 0: the engine's */
  int32_t are_new_items;                      /* 1: `items` are called new_items in messages, not histories */
  /* 1: recblr_submit may run it in its caller's thread, and call `done` before it returns, where a worker's place is
   * free: sooner and cheaper than handing it over, for threads that may wait for as long as the run takes. */
  int32_t may_run_here;
} recblr_request;

/* The memory of a request's answer, to be used again: then an answer takes no memory from the heap. With an answer it
 * keeps the bundle of the model that answered, and the allow-lists used, until it is used again, cleared or freed. */
typedef struct recblr_result recblr_result;
RECBLR_API recblr_status recblr_result_create(recblr_result** result);
RECBLR_API void recblr_result_free(recblr_result* result);
/* Lets go of the answer, and of the bundle and lists kept with it; the memory stays, to be used again: for results that
 * wait in a pool, where a model that was exchanged should not stay for them. RECBLR_INVALID_ARGUMENT while a request is
 * being answered in it. */
RECBLR_API recblr_status recblr_result_clear(recblr_result* result);

/* The best items of one user; arrays of `count`, valid until the result is used again, cleared or freed, the strings
 * besides as long as its bundle is open. */
typedef struct recblr_ranking {
  int64_t count;              /* k, or fewer where exclusions and allow-list leave no more */
  const int64_t* integers;    /* item ids, best first; NULL where they are strings */
  const char* const* strings; /* item ids, NUL-terminated; NULL where they are integers */
  const int64_t* lengths;     /* of the strings, in bytes */
  const int32_t* indices;     /* the model's indices of the items */
  const float* scores;        /* not rising; equal ones in the order of the indices */
  int64_t unknown;            /* ids of the row that the model does not know; they were skipped */
  int32_t popular;            /* 1: nothing is known of the user: the most popular items, scored by their counts */
} recblr_ranking;

/* The best next items for each row. Waits for the answer. */
RECBLR_API recblr_status recblr_recommend(recblr_engine* engine, const recblr_request* request, recblr_result* result);

/* Called once with the status of a request that was submitted, RECBLR_CANCELLED included, in any thread;
 * recblr_last_error says there what is wrong. It must not wait for another request, nor close or free the engine, and
 * no exception may leave it. */
typedef void (*recblr_done)(void* context, recblr_status status);

/* recblr_recommend without waiting: `done` is called when `result` is there, perhaps before this returns. The request
 * itself may go, but the result, states and new_states must stay until then. If the status is not RECBLR_OK, `done` is
 * not called. `ticket`, which may be NULL, is for recblr_cancel; it is written before this returns, but perhaps after
 * `done` was called, and must stay until then, too. */
RECBLR_API recblr_status recblr_submit(recblr_engine* engine, const recblr_request* request, recblr_result* result,
                                       recblr_done done, void* context, uint64_t* ticket);

/* Withdraws a request: 1 if `done` was not called yet; it is then called with RECBLR_CANCELLED before this returns or,
 * where the request runs just now and writes to its memory, once that has ended. 0 where it is answered already. */
RECBLR_API int32_t recblr_cancel(recblr_engine* engine, uint64_t ticket);

RECBLR_API int64_t recblr_result_n_rows(const recblr_result* result);
RECBLR_API recblr_status recblr_result_row(const recblr_result* result, int64_t row, recblr_ranking* ranking);
/* The fingerprint of the model that answered, valid until the result is used again, cleared or freed; "" without an
 * answer. */
RECBLR_API const char* recblr_result_fingerprint(const recblr_result* result);

/* ---- Metrics ---- */

#define RECBLR_ROW_BUCKETS 12
#define RECBLR_WAIT_BUCKETS 15

/* A batching engine at one moment; counts since it was made. Every request taken is in exactly one of answered, failed,
 * expired, cancelled or still open. The last bucket of each kind holds what is above the last bound. */
typedef struct recblr_metrics {
  size_t struct_size;
  int64_t queued_rows, queued_tokens, open_requests, running_batches; /* now */
  int64_t accepted, refused, answered, failed, expired, cancelled, backend_errors, batch_tokens;
  int64_t batch_rows[RECBLR_ROW_BUCKETS]; /* runs by rows: up to 1, 2, 4, ... 1024, more */
  double batch_rows_total;
  int64_t wait_seconds[RECBLR_WAIT_BUCKETS]; /* requests by wait: up to .0001, .00025, .0005, .001, ... 2.5, more */
  double wait_seconds_total;
  int64_t run_seconds[RECBLR_WAIT_BUCKETS]; /* runs by how long they took, in the same buckets */
  double run_seconds_total;
} recblr_metrics;

/* RECBLR_UNSUPPORTED where the engine does not batch. */
RECBLR_API recblr_status recblr_engine_metrics(const recblr_engine* engine, recblr_metrics* metrics);

/* ---- Users ---- */

/* An id of a user, of an event or of an item in a history. Histories keep ids as they are given: the integer 25 and the
 * string "25" are two users; to a model they are one item. */
typedef struct recblr_id {
  int32_t type;     /* RECBLR_INTEGER_IDS or RECBLR_STRING_IDS */
  int64_t integer;  /* an integer, where `text` is NULL */
  const char* text; /* a string; or an integer beyond 64 bits, in decimal form */
  int64_t length;   /* of `text`, in bytes */
} recblr_id;

/* Ids that a function gives, to be used again; they are valid until then. */
typedef struct recblr_id_list recblr_id_list;
RECBLR_API recblr_status recblr_id_list_create(recblr_id_list** list);
RECBLR_API void recblr_id_list_free(recblr_id_list* list);
RECBLR_API int64_t recblr_id_list_size(const recblr_id_list* list);
RECBLR_API const recblr_id* recblr_id_list_ids(const recblr_id_list* list); /* [size] */

/* New items of a user. */
typedef struct recblr_event {
  recblr_id user;
  const recblr_id* items;    /* [n_items] in chronological order, such as no model knows, too */
  int64_t n_items;           /* 0: the event changes nothing */
  const recblr_id* event_id; /* repeating it for the user changes nothing as long as the event is kept; or NULL */
} recblr_event;

/* Where histories are kept: logs of events. Any number of threads, and of processes with stores of their own on the
 * same file or server, may use it. An event is stored whole or not at all, and after those already stored for its user.
 */
typedef struct recblr_store recblr_store;

typedef struct recblr_store_options {
  size_t struct_size;
  int64_t max_history;     /* how many of a user's latest items are kept, by whole events; 0: all */
  const char* synchronous; /* SQLite: "FULL", or "NORMAL" where an append does not wait for the disk; NULL: "FULL" */
  const char* prefix;      /* Redis: of all keys; NULL: "recblr" */
} recblr_store_options;

/* Opens a store: NULL or "" for this process's memory; a folder, made if need be, for SQLite; or an address of a Redis
 * or Valkey server:
 *   redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, unix://SOCKET[?db=DB], valkey://, valkeys://
 *   sentinel://[USER:PASSWORD@]HOST[:PORT][,...]/SERVICE for the server that leads a service, sentinels:// for TLS
 * with ?db=, username=, password=, socket_timeout=, socket_connect_timeout= in seconds, sentinel_username=,
 * sentinel_password=, ssl_ca_certs=, ssl_certfile=, ssl_keyfile=, ssl_cert_reqs=none, ssl_check_hostname=false.
 * No message holds a password. RECBLR_UNSUPPORTED where this build has no such store. `options` may be NULL. */
RECBLR_API recblr_status recblr_store_open(const char* where, const recblr_store_options* options,
                                           recblr_store** store);
RECBLR_API void recblr_store_free(recblr_store* store);
/* Closes what it holds open; it cannot be used afterwards. Calls under way still finish. */
RECBLR_API recblr_status recblr_store_close(recblr_store* store);

/* Stores n events, durably; added [n] is 1 where an event was new. RECBLR_STORE_FAILED says what was stored. */
RECBLR_API recblr_status recblr_store_append(recblr_store* store, const recblr_event* events, int64_t n,
                                             uint8_t* added);
/* Removes all of a user; *found is 1 if there was anything. */
RECBLR_API recblr_status recblr_store_forget(recblr_store* store, const recblr_id* user, int32_t* found);

/* Events of some users that were read, to be used again; what it gives is valid until then. */
typedef struct recblr_events recblr_events;
RECBLR_API recblr_status recblr_events_create(recblr_events** events);
RECBLR_API void recblr_events_free(recblr_events* events);

typedef struct recblr_stored_event {
  int64_t seq;            /* its number in the user's history, from 1, without gaps */
  int64_t stamp;          /* drawn at random: histories that agree in an event's seq and stamp agree in all up to it */
  const recblr_id* items; /* [n_items] */
  int64_t n_items;
} recblr_stored_event;
/* The events of a user, numbered as in the call that read them, in order: *count of them. */
RECBLR_API recblr_status recblr_events_of(const recblr_events* events, int64_t user, const recblr_stored_event** stored,
                                          int64_t* count);
/* Adds an event, for a store of the caller's. */
RECBLR_API recblr_status recblr_events_add(recblr_events* events, int64_t user, int64_t seq, int64_t stamp,
                                           const recblr_id* items, int64_t n_items);

/* Reads the kept events of n users, those with numbers from since[b] on; 0 for all. */
RECBLR_API recblr_status recblr_store_read(recblr_store* store, const recblr_id* users, const int64_t* since, int64_t n,
                                           recblr_events* events);

/* A store of the caller's, whose functions do what those above do, from any thread. Events that it gives in another
 * order, with gaps, or before those asked for are RECBLR_STORE_FAILED. Where one fails it calls recblr_set_error and
 * returns that status. */
typedef struct recblr_store_callbacks {
  size_t struct_size;
  void* context;
  recblr_status (*append)(void* context, const recblr_event* events, int64_t n, uint8_t* added);
  recblr_status (*read)(void* context, const recblr_id* users, const int64_t* since, int64_t n, recblr_events* events);
  recblr_status (*forget)(void* context, const recblr_id* user, int32_t* found);
  recblr_status (*close)(void* context); /* may be NULL */
  void (*release)(void* context);        /* called once, when the store is gone; may be NULL */
  int64_t max_history;                   /* that it keeps of a user; 0: all */
} recblr_store_callbacks;
RECBLR_API recblr_status recblr_store_create(const recblr_store_callbacks* callbacks, recblr_store** store);

/* An engine, users' histories in a store, and a cache of their states and seen items. A state is used only if the event
 * it ends with is still in the user's history; then what came since is fed to it, in the run that ranks. Stored ids
 * that can be none of the model's are skipped, with one warning to the logger. */
typedef struct recblr_recommender recblr_recommender;

typedef struct recblr_recommender_options {
  size_t struct_size;
  int64_t cache_bytes; /* the most that states and seen items take; 0: 256 MiB */
  int32_t no_cache;    /* 1: nothing is cached */
} recblr_recommender_options;

/* Joins an engine and a store, which it keeps; `options` may be NULL. */
RECBLR_API recblr_status recblr_recommender_create(recblr_engine* engine, recblr_store* store,
                                                   const recblr_recommender_options* options,
                                                   recblr_recommender** recommender);
RECBLR_API void recblr_recommender_free(recblr_recommender* recommender);
/* Ends its use, RECBLR_CLOSED from then on; calls under way still finish, engine and store stay open. */
RECBLR_API recblr_status recblr_recommender_close(recblr_recommender* recommender);

/* Adds n events in one transaction or round trip; if one is malformed, none. added [n] is 1 where one was new. */
RECBLR_API recblr_status recblr_recommender_add_events(recblr_recommender* recommender, const recblr_event* events,
                                                       int64_t n, uint8_t* added);
/* The same where nothing but the disk is to be waited for, and the events are few: the store is in memory or a file,
 * and no other thread or process writes to it at this moment. *is_done is 0 where it is not so, and nothing was added.
 * For threads that must not wait long, as those that handle signals. */
RECBLR_API recblr_status recblr_recommender_add_events_now(recblr_recommender* recommender, const recblr_event* events,
                                                           int64_t n, uint8_t* added, int32_t* is_done);
/* The user's items as stored, in order; the latest max_history. */
RECBLR_API recblr_status recblr_recommender_history(recblr_recommender* recommender, const recblr_id* user,
                                                    recblr_id_list* items);
/* Removes all of a user: history, event ids, state. *found is 1 if the store held anything. */
RECBLR_API recblr_status recblr_recommender_forget(recblr_recommender* recommender, const recblr_id* user,
                                                   int32_t* found);
/* The best next items for n users, all of one model; `unknown` of their rankings is 0. Of the request count k, exclude,
 * only, timeout and exclude_seen, which leaves out the items of the stored histories; the rest is 0. Where a user's
 * keys in the store hold something else than a history, that is an error for a request for this user alone; among
 * others the user is answered as a new one, with a warning to the logger, which names nobody. */
RECBLR_API recblr_status recblr_recommender_recommend(recblr_recommender* recommender, const recblr_id* users,
                                                      int64_t n, const recblr_request* request, recblr_result* result);
/* The same for one user, where that needs no waiting and takes about as long as the ranking itself: the store is in
 * memory, the user's state is cached, few items came since, and a worker's place is free. *is_answered is 0 where it is
 * not so. For threads that must not wait, as those of a server. */
RECBLR_API recblr_status recblr_recommender_recommend_now(recblr_recommender* recommender, const recblr_id* user,
                                                          const recblr_request* request, recblr_result* result,
                                                          int32_t* is_answered);
/* At most n users who have a state in the cache, the latest used first. */
RECBLR_API recblr_status recblr_recommender_recent_users(const recblr_recommender* recommender, int64_t n,
                                                         recblr_id_list* users);
/* What a recommender has cached now, of the model in place, and counts since it was made; users for whom
 * recblr_recommender_swap rebuilds a state count as answered ones. */
typedef struct recblr_user_metrics {
  size_t struct_size;
  int64_t cached_users, cached_bytes;
  int64_t state_hits;     /* users answered whose cached state was used, and fed what came since */
  int64_t state_rebuilds; /* users answered whose whole history was fed */
  int64_t evictions;      /* users dropped from the cache for others */
} recblr_user_metrics;

RECBLR_API recblr_status recblr_recommender_metrics(const recblr_recommender* recommender,
                                                    recblr_user_metrics* metrics);
/* Puts another model in place, while the old one keeps answering. The new one runs once, and gets the states of the
 * `rebuild` users asked for latest, before it takes over, with rests that keep requests from being delayed: it takes
 * half of one CPU's time at most. Requests under way end with the model they began with. If anything fails, the old
 * model stays. RECBLR_BAD_CONFIG where the ids of the two models are of two types, unless
 * allow_id_type_change is 1. */
RECBLR_API recblr_status recblr_recommender_swap(recblr_recommender* recommender, recblr_engine* engine,
                                                 int64_t rebuild, int32_t allow_id_type_change);

/* ---- Log ---- */

#define RECBLR_LOG_INFO 20
#define RECBLR_LOG_WARNING 30

/* Who is told what no status can carry: called from any thread, one call at a time; it must not set the logger. NULL
 * for nobody, which is so at first. Returns when the former one is not called any more. */
RECBLR_API recblr_status recblr_set_logger(void (*logger)(void* context, int32_t level, const char* message),
                                           void* context);

#ifdef __cplusplus
}
#endif

#endif /* RECBLR_RECBLR_H_ */
