/* The C ABI of librecblr_plugins.so. Plain C: callable from C, C++, Python's ctypes and any other FFI.
 *
 * Dimensions: B rows, N tokens, H inner width, K taps of the convolution, S state size. A batch is ragged: row b has
 * the tokens offsets[b] to offsets[b+1]-1, and offsets has B+1 entries that start at 0, do not fall, and end at N.
 * Arrays are row-major and dense unless a stride says otherwise. "data" arrays are of the parameters' dtype; all others
 * are float32 as declared. Arithmetic and state are float32. No function keeps a pointer. Inputs and outputs do not
 * overlap.
 *
 * *_cpu: all pointers are host memory; offsets are checked; returns when the work is done.
 * *_cuda: the structure is host memory, all that it points to is device memory of the current device. The work is
 *   enqueued on `stream`; nothing is allocated, nothing waits, no device memory is read by the host: safe under CUDA
 * graph capture. Offsets cannot be checked: wrong ones give wrong results, but no access outside the arrays. They exist
 * in every build; one without CUDA returns RECBLR_UNSUPPORTED.
 */
#ifndef RECBLR_PLUGINS_H_
#define RECBLR_PLUGINS_H_

#include <stdint.h>

#if defined(__GNUC__)
#define RECBLR_API __attribute__((visibility("default")))
#else
#define RECBLR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Number of this ABI. A caller built for another number must not call anything else. */
#define RECBLR_ABI_VERSION 5

/* What functions return. Anything but RECBLR_OK means that outputs are not to be used. */
#define RECBLR_OK 0
#define RECBLR_INVALID_ARGUMENT 1
#define RECBLR_OUT_OF_MEMORY 2
#define RECBLR_UNSUPPORTED 3 /* this build or this machine cannot do it */
#define RECBLR_CUDA_ERROR 4  /* a CUDA call failed; the message names it */

/* Types of data arrays. */
#define RECBLR_FLOAT32 0
#define RECBLR_FLOAT16 1
#define RECBLR_BFLOAT16 2

/* Types of offsets and slots. */
#define RECBLR_INT64 0
#define RECBLR_INT32 1

/* How the GPU scans. */
#define RECBLR_BY_SHAPE 0
#define RECBLR_ROWS_IN_THREADS 1 /* a thread takes a row's segments one after another: for many rows */
#define RECBLR_ROWS_IN_BLOCKS 2  /* a block takes a row's segments side by side: for few or long rows */

/* Tokens of a segment: the scan keeps h before every segment of so many tokens, counted from the row's start, and its
 * backward pass computes the h between them again. */
#define RECBLR_SEGMENT 4

/* Returns RECBLR_ABI_VERSION of the library that is loaded. */
RECBLR_API int recblr_abi_version(void);

/* Returns the version of the project the library was built from, as a static NUL-terminated string. */
RECBLR_API const char* recblr_version(void);

/* Returns what was wrong with this thread's last call that did not return RECBLR_OK. Valid until its next call. */
RECBLR_API const char* recblr_last_error(void);

/* Returns the GPU architectures the library has code for, as a static string such as "80 86 90 90-virtual"; "" for a
 * build without CUDA. */
RECBLR_API const char* recblr_cuda_architectures(void);

/* The gated linear recurrence (RecBLR, arXiv 2406.12580, section 4):
 *   r = sigmoid(gates[:, :H])        i = sigmoid(gates[:, H:])
 *   alpha = exp(-softplus(decay) r)  beta = sqrt(1 - alpha^2 + 1e-8) i
 *   h_t = alpha_t h_{t-1} + beta_t x_t      y_t = SiLU(z_t) h_t
 */
typedef struct recblr_gated_scan {
  int64_t n_tokens; /* N */
  int64_t n_rows;   /* B */
  int64_t width;    /* H */
  int64_t x_stride; /* elements from a token of x to the next; 0 where dense. The same for the next two */
  int64_t gates_stride;
  int64_t z_stride;
  int32_t dtype;
  int32_t offsets_type;
  int32_t last_only;   /* 1: z, y and their gradients are [B, H], at each row's last token; empty rows read h0 */
  int32_t n_threads;   /* CPU: at most so many; below 1 is 1 */
  int32_t strategy;    /* CUDA: RECBLR_BY_SHAPE, or the one to use; the results are the same bit for bit */
  const void* offsets; /* [B+1] */
  const void* x;       /* data [N, H] */
  const void* gates;   /* data [N, 2H] */
  const void* z;       /* data [N, H], or [B, H] */
  const float* decay;  /* [H] */
  const float* h0;     /* [B, H] */
  /* [N / RECBLR_SEGMENT + B, H] (integer division): h before segment s of row b is at offsets[b] / RECBLR_SEGMENT + b +
   * s, and a place between two rows holds the last h of the first. Written by forward where not NULL, read by backward.
   */
  float* segment_h;
  /* forward */
  void* y;       /* data, dense, as z */
  float* last_h; /* [B, H] */
  /* backward; gradients are dense */
  const void* grad_y;       /* data, as z */
  const float* grad_last_h; /* [B, H] */
  void* grad_x;             /* data [N, H] */
  void* grad_gates;         /* data [N, 2H] */
  void* grad_z;             /* data, as z */
  float* grad_decay;        /* [H] */
  float* grad_h0;           /* [B, H] */
} recblr_gated_scan;

/* Depthwise causal convolution along each row, then SiLU. `tail` holds the K-1 inputs before each row, oldest first. */
typedef struct recblr_causal_conv1d {
  int64_t n_tokens;
  int64_t n_rows;
  int64_t width;
  int64_t taps;     /* K */
  int64_t x_stride; /* as in recblr_gated_scan */
  int32_t dtype;
  int32_t offsets_type;
  int32_t n_threads;
  const void* offsets; /* [B+1] */
  const void* x;       /* data [N, H] */
  const float* weight; /* [H, K]; the last tap meets the current token */
  const float* bias;   /* [H] */
  const float* tail;   /* [B, K-1, H] */
  /* forward */
  void* y;         /* data [N, H] */
  float* new_tail; /* [B, K-1, H] */
  /* backward; gradients are dense */
  const void* grad_y;         /* data [N, H] */
  const float* grad_new_tail; /* [B, K-1, H] */
  void* grad_x;               /* data [N, H] */
  float* grad_weight;         /* [H, K] */
  float* grad_bias;           /* [H] */
  float* grad_tail;           /* [B, K-1, H] */
} recblr_causal_conv1d;

/* Moves whole user states between a pool of n_slots states and a batch of n_rows. */
typedef struct recblr_state_move {
  int64_t n_rows;
  int64_t n_slots;
  int64_t state_size;   /* S */
  int32_t slots_type;   /* RECBLR_INT64 or RECBLR_INT32 */
  int32_t n_threads;    /* CPU */
  const void* slots;    /* [B]: a row's place in the pool; negative for none. Scatter: no two equal ones */
  const float* initial; /* [S], what gather gives a row without a place; NULL: zeros */
  float* pool;          /* [n_slots, S]: read by gather, written by scatter */
  float* states;        /* [B, S]: written by gather, read by scatter */
} recblr_state_move;

/* Dropout: y = x / (1 - p), or 0 with probability p. Which elements are dropped is a function of seed, p and the
 * element's index alone, so the gradient of x is the same function of y's. */
typedef struct recblr_dropout {
  int64_t n_elements;
  uint64_t seed;
  float p; /* at least 0, below 1 */
  int32_t dtype;
  int32_t n_threads;
  const void* x; /* data [n_elements] */
  void* y;       /* data [n_elements] */
} recblr_dropout;

/* -log softmax(logits[1:])[target] of every row, and its gradient in place of the logits. Column 0 takes no part. */
typedef struct recblr_cross_entropy {
  int64_t n_rows;
  int64_t width; /* at least 2 */
  int32_t dtype;
  int32_t n_threads;
  int32_t keep_logits;    /* 1: no gradient is written */
  const int64_t* targets; /* [n_rows], from 1 to width - 1 */
  void* logits;           /* data [n_rows, width] */
  float* losses;          /* [n_rows] */
} recblr_cross_entropy;

/* On the CPU. The environment variable RECBLR_CPU_ISA (baseline, avx2 or avx512) is the most that is used of the
 * machine's instruction sets; another value is an error. In a process with an OpenMP runtime its threads do the work.
 * Results do not depend on the number of threads, nor a row's on the other rows. */
RECBLR_API int recblr_gated_scan_forward_cpu(const recblr_gated_scan* arguments);
RECBLR_API int recblr_gated_scan_backward_cpu(const recblr_gated_scan* arguments);
RECBLR_API int recblr_causal_conv1d_forward_cpu(const recblr_causal_conv1d* arguments);
RECBLR_API int recblr_causal_conv1d_backward_cpu(const recblr_causal_conv1d* arguments);
RECBLR_API int recblr_gather_state_cpu(const recblr_state_move* arguments);  /* a slot of n_slots or more is an error */
RECBLR_API int recblr_scatter_state_cpu(const recblr_state_move* arguments); /* the same; then nothing is written */
RECBLR_API int recblr_dropout_cpu(const recblr_dropout* arguments);
RECBLR_API int recblr_cross_entropy_cpu(const recblr_cross_entropy* arguments); /* a wrong target is an error */

/* On the GPU. `stream` is a cudaStream_t. Results are the same in every run, and a row's do not depend on the other
 * rows. A slot of n_slots or more is gathered as NaN and not scattered. */
RECBLR_API int recblr_gated_scan_forward_cuda(const recblr_gated_scan* arguments, void* stream);
RECBLR_API int recblr_gated_scan_backward_cuda(const recblr_gated_scan* arguments, void* workspace, void* stream);
RECBLR_API int recblr_causal_conv1d_forward_cuda(const recblr_causal_conv1d* arguments, void* stream);
RECBLR_API int recblr_causal_conv1d_backward_cuda(const recblr_causal_conv1d* arguments, void* workspace, void* stream);
RECBLR_API int recblr_gather_state_cuda(const recblr_state_move* arguments, void* stream);
RECBLR_API int recblr_scatter_state_cuda(const recblr_state_move* arguments, void* stream);

/* Bytes of device memory, aligned to 16, that the backward pass needs as `workspace`: a function of the sizes alone. */
RECBLR_API int64_t recblr_gated_scan_workspace_cuda(const recblr_gated_scan* arguments);
RECBLR_API int64_t recblr_causal_conv1d_workspace_cuda(const recblr_causal_conv1d* arguments);

/* An embedding in 8 bits (a quarter of its memory), by which recblr_top_items_cpu knows of most items that they rank
 * too low, and does not compute their scores. The results are the same, bit for bit. Any number of threads may use one.
 */
typedef struct recblr_item_index recblr_item_index;

/* `embedding` is as in recblr_top_items, and is not kept. *index is NULL where this machine has not the instructions
 * for one (AVX2, better AVX-512 VNNI), or RECBLR_CPU_ISA does not allow them. */
RECBLR_API int recblr_item_index_create(const void* embedding, int64_t n_items, int64_t dim, int32_t n_threads,
                                        recblr_item_index** index);
RECBLR_API void recblr_item_index_destroy(recblr_item_index* index); /* NULL is no index */

/* The k best items of a catalogue for every row, exactly: best first, equal scores by the smaller item. A score is the
 * dot product of a row's query and an item's embedding; item 0 is never ranked. A score of -inf is not ranked either;
 * NaN ranks before all others. A row with fewer items than k is filled up with item 0 and -inf. Memory is O(B k
 * n_threads), and at most about 64 MiB where that is enough for one row: scores are never kept for all items. */
typedef struct recblr_top_items {
  int64_t n_rows;                 /* B */
  int64_t n_items;                /* V; below 2^31 - 1 */
  int64_t dim;                    /* D */
  int64_t k;                      /* may exceed V */
  int64_t n_exclude;              /* M */
  int64_t n_only;                 /* items in `only` */
  int32_t n_threads;              /* at most so many; below 1 is 1 */
  const float* queries;           /* [B, D] */
  const void* embedding;          /* float32 [V+1, D] at any address, aligned or not */
  const recblr_item_index* index; /* of this embedding, unchanged since; NULL: without one */
  const int32_t* exclude;         /* [M, 2] of (row, item) not to be ranked, in any order, duplicates allowed */
  const int32_t* only;            /* [n_only] items, in any order; only these are ranked. NULL: all */
  const int64_t* only_offsets;    /* [B+1]: row b has only[only_offsets[b]] and on. NULL: `only` is for every row */
  int32_t* top_items;             /* [B, k] */
  float* top_scores;              /* [B, k] */
} recblr_top_items;

/* Results do not depend on the number of threads, nor a row's on the other rows or on `only`, bit for bit. */
RECBLR_API int recblr_top_items_cpu(const recblr_top_items* arguments);

/* The weights of a whole model, all float32 at any address, matrices as [out, in]. F is the feed-forward's inner width.
 * A state is, layer by layer, the K-1 last inputs of the convolution [K-1, H], oldest first, and h [H]; then the query
 * vector [D]: S = L K H + D. */
typedef struct recblr_layer_weights {
  const float* in_proj;     /* [2H, D]: first what enters the convolution, then the output gate */
  const float* conv_weight; /* [H, K] */
  const float* conv_bias;   /* [H] */
  const float* gates;       /* [2H, H]: first the recurrence gate, then the input gate */
  const float* gates_bias;  /* [2H] */
  const float* decay;       /* [H] */
  const float* out_proj;    /* [D, H] */
  const float* recurrent_norm_weight;
  const float* recurrent_norm_bias; /* [D] */
  const float* up;                  /* [F, D] */
  const float* up_bias;             /* [F] */
  const float* down;                /* [D, F] */
  const float* down_bias;           /* [D] */
  const float* feed_forward_norm_weight;
  const float* feed_forward_norm_bias; /* [D] */
} recblr_layer_weights;

typedef struct recblr_model_weights {
  int64_t n_items;        /* V */
  int64_t dim;            /* D */
  int64_t width;          /* H */
  int64_t feed_forward;   /* F */
  int64_t taps;           /* K */
  int64_t n_layers;       /* L */
  int32_t ranks;          /* 1: recblr_model_run may rank: the model holds an index of the items, a copy, or both */
  float norm_epsilon;     /* of all layer norms */
  const float* embedding; /* [V+1, D] */
  const float* norm_weight;
  const float* norm_bias;             /* [D], of the norm that follows the embedding */
  const recblr_layer_weights* layers; /* [L] */
} recblr_model_weights;

/* A model on the CPU, with copies of its weights as the kernels read them, but for the embedding: that must stay where
 * it is. Any number of threads may run one at once. */
typedef struct recblr_model recblr_model;

/* Feeds every row's items to its state, one after another, and ranks the catalogue for it. A row's
 * result does not depend on the other rows, nor on whether its items come in one call or in several, bit for bit. */
typedef struct recblr_model_run {
  int64_t n_rows;         /* B */
  int64_t n_exclude;      /* M */
  int64_t k;              /* results per row; 0 does not rank */
  int32_t n_threads;      /* at most so many; below 1 is 1 */
  const int32_t* items;   /* [offsets[B]], from 1 to V */
  const int32_t* offsets; /* [B+1]; a row may be empty: it keeps its state */
  const float* state_in;  /* [B, S] */
  float* state_out;       /* [B, S]; may be state_in */
  const int32_t* exclude; /* [M, 2] of (row, item) not to be ranked, rows ascending */
  int32_t* top_items;     /* [B, k]: as of recblr_top_items */
  float* top_scores;      /* [B, k] */
} recblr_model_run;

/* Results do not depend on the number of threads, nor a row's on the other rows, bit for bit. */
RECBLR_API int recblr_model_create(const recblr_model_weights* weights, recblr_model** model);
RECBLR_API void recblr_model_destroy(recblr_model* model); /* NULL is no model */
RECBLR_API int recblr_model_run_cpu(const recblr_model* model, const recblr_model_run* arguments);

#ifdef __cplusplus
}
#endif

#endif /* RECBLR_PLUGINS_H_ */
