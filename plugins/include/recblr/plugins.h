/* The C ABI of librecblr_plugins.so. Plain C: callable from C, C++, Python's ctypes and any other FFI.
 *
 * A function takes one structure of sizes and pointers, works on the arrays behind them and returns a status. It keeps
 * no pointer, unless it says so, and any number of threads may call any function at once.
 *
 * Dimensions: B rows, N tokens, H inner width, K taps of the convolution, S state size. A
 * batch is ragged: row b has the tokens offsets[b] to offsets[b+1]-1. `offsets` has B+1 entries that start at 0, do
 * not fall, and end at N, so a row may be empty. Arrays are row-major and dense unless a stride says otherwise. "data"
 * arrays are of the type that `dtype` names, all others as declared. Arithmetic and state are float32. Inputs and
 * outputs do not overlap, unless a field says that they may.
 *
 * *_cpu: all pointers are host memory. Sizes, types, offsets and items are checked before anything is written; that the
 *   arrays are of those sizes is the caller's part. The function returns when the work is done.
 * *_cuda: the structure is host memory, all that it points to is device memory of the current device. The work is
 *   enqueued on `stream`, a cudaStream_t; nothing is allocated, nothing waits, no device memory is read by the host:
 *   safe under CUDA graph capture. Offsets and slots cannot be checked: wrong ones give wrong results, but no access
 *   outside the arrays. Every build has these functions; one without CUDA returns RECBLR_UNSUPPORTED.
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

/* Number of this ABI. A caller that was built for another number than recblr_plugins_abi_version returns calls nothing
 * else. */
#define RECBLR_ABI_VERSION 7

/* What functions return; names that recblr.h has, too, have the same value there. After anything but RECBLR_OK outputs
 * are not to be used, and recblr_plugins_last_error says why. */
#define RECBLR_OK 0
#define RECBLR_INVALID_ARGUMENT 1 /* NULL for the arguments, or a value that this header does not allow */
#define RECBLR_CUDA_ERROR 4       /* a CUDA call failed; the message names it */
#define RECBLR_OUT_OF_MEMORY 10
#define RECBLR_UNSUPPORTED 11 /* this build or this machine cannot do it */

/* Types of data arrays, in `dtype`. */
#define RECBLR_FLOAT32 0
#define RECBLR_FLOAT16 1
#define RECBLR_BFLOAT16 2

/* Types of offsets and slots, in `offsets_type` and `slots_type`. */
#define RECBLR_INT64 0
#define RECBLR_INT32 1

/* How the GPU scans, in `strategy`. The results are the same, bit for bit. */
#define RECBLR_BY_SHAPE 0        /* whichever is the faster one for the sizes */
#define RECBLR_ROWS_IN_THREADS 1 /* a thread takes a row's segments one after another: for many rows */
#define RECBLR_ROWS_IN_BLOCKS 2  /* a block takes a row's segments side by side: for few or long rows */

/* Tokens of a segment: the scan keeps h before every segment of so many tokens, counted from the row's start, and its
 * backward pass computes the h between them again. */
#define RECBLR_SEGMENT 4

/* Returns RECBLR_ABI_VERSION of the library that is loaded. */
RECBLR_API int recblr_plugins_abi_version(void);

/* Returns the version of the project the library was built from, as a static NUL-terminated string. */
RECBLR_API const char* recblr_plugins_version(void);

/* Returns what was wrong with this thread's last call that did not return RECBLR_OK: one line that names the value and
 * what to do. Never NULL; valid until the thread's next call. */
RECBLR_API const char* recblr_plugins_last_error(void);

/* Returns the GPU architectures the library has code for, as a static string such as "80 86 90 90-virtual"; "" for a
 * build without CUDA. */
RECBLR_API const char* recblr_cuda_architectures(void);

/* ---- The operations along the sequence ---- */

/* The gated linear recurrence and its output gate (RecBLR, arXiv 2406.12580, section 4):
 *   r = sigmoid(gates[:, :H])        i = sigmoid(gates[:, H:])
 *   alpha = exp(-softplus(decay) r)  beta = sqrt(1 - alpha^2 + 1e-8) i
 *   h_t = alpha_t h_{t-1} + beta_t x_t      y_t = SiLU(z_t) h_t
 * along each row, from h0 on. A row without tokens keeps h0 as its last h. Forward reads offsets to h0 and writes
 * segment_h, y and last_h; backward also reads segment_h and the gradients of y and last_h, and writes the other
 * gradients. What a pass does not name may be NULL. */
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
  int32_t strategy;    /* CUDA: RECBLR_BY_SHAPE, or the one to use */
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

/* Depthwise causal convolution along each row, then SiLU:
 *   y_t = SiLU(bias + sum over k of weight[:, k] x_{t-(K-1)+k})
 * where the inputs before a row's first token are its `tail`, oldest first; zeros for a new user. The new tail is the
 * last K-1 inputs, of the tail and the row together. Forward reads offsets to tail and writes y and new_tail; backward
 * also reads the gradients of those two, and writes the other gradients. What a pass does not name may be NULL. */
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

/* Moves whole user states between a pool of n_slots states and a batch of n_rows, on the GPU. */
typedef struct recblr_state_move {
  int64_t n_rows;       /* B */
  int64_t n_slots;      /* places in the pool */
  int64_t state_size;   /* S; at least 1 */
  int32_t slots_type;   /* RECBLR_INT64 or RECBLR_INT32 */
  const void* slots;    /* [B]: a row's place in the pool; negative for none. Scatter: no two equal ones */
  const float* initial; /* [S], what gather gives a row without a place; NULL: zeros */
  float* pool;          /* [n_slots, S]: read by gather, written by scatter */
  float* states;        /* [B, S]: written by gather, read by scatter */
} recblr_state_move;

/* Dropout: y = x / (1 - p), or 0 with probability p. Which elements are dropped is a function of seed, p and the
 * element's index alone, so the gradient of x is the same function of the gradient of y. */
typedef struct recblr_dropout {
  int64_t n_elements;
  uint64_t seed;
  float p; /* at least 0, below 1 */
  int32_t dtype;
  int32_t n_threads;
  const void* x; /* data [n_elements] */
  void* y;       /* data [n_elements] */
} recblr_dropout;

/* The cross-entropy -log softmax(logits[1:])[target] of every row, and its gradient in place of the logits. Column 0,
 * which is no item, takes no part: its gradient is 0. */
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
 * machine's instruction sets; with another value every function that computes returns RECBLR_INVALID_ARGUMENT. In a
 * process with an OpenMP runtime its threads do the work, and few elements are done by the calling thread alone.
 * Results do not depend on the number of threads, nor a row's on the other rows, bit for bit. */

/* Computes y, last_h and, where not NULL, segment_h. */
RECBLR_API int recblr_gated_scan_forward_cpu(const recblr_gated_scan* arguments);

/* Computes the gradients of x, gates, z, decay and h0 from the inputs, segment_h and the gradients of y and last_h. */
RECBLR_API int recblr_gated_scan_backward_cpu(const recblr_gated_scan* arguments);

/* Computes y and new_tail. */
RECBLR_API int recblr_causal_conv1d_forward_cpu(const recblr_causal_conv1d* arguments);

/* Computes the gradients of x, weight, bias and tail from the inputs and the gradients of y and new_tail. */
RECBLR_API int recblr_causal_conv1d_backward_cpu(const recblr_causal_conv1d* arguments);

/* Computes y. */
RECBLR_API int recblr_dropout_cpu(const recblr_dropout* arguments);

/* Computes the losses and, unless keep_logits, writes their gradient in place of the logits. A target outside 1 to
 * width - 1 is RECBLR_INVALID_ARGUMENT, and nothing is written. */
RECBLR_API int recblr_cross_entropy_cpu(const recblr_cross_entropy* arguments);

/* On the GPU. Results are the same in every run, and a row's do not depend on the other rows; a weight's gradient is a
 * sum over them. `workspace` is device memory of as many bytes as the function's *_workspace_cuda returns, aligned to
 * 16; its content before does not matter. */

/* As recblr_gated_scan_forward_cpu. */
RECBLR_API int recblr_gated_scan_forward_cuda(const recblr_gated_scan* arguments, void* stream);

/* As recblr_gated_scan_backward_cpu. */
RECBLR_API int recblr_gated_scan_backward_cuda(const recblr_gated_scan* arguments, void* workspace, void* stream);

/* As recblr_causal_conv1d_forward_cpu; more taps than 16 are RECBLR_UNSUPPORTED, as in the next function. */
RECBLR_API int recblr_causal_conv1d_forward_cuda(const recblr_causal_conv1d* arguments, void* stream);

/* As recblr_causal_conv1d_backward_cpu. */
RECBLR_API int recblr_causal_conv1d_backward_cuda(const recblr_causal_conv1d* arguments, void* workspace, void* stream);

/* Copies the pool's state at each slot to its row of `states`: `initial`, or zeros, where the slot is negative, NaN
 * where it is n_slots or more. */
RECBLR_API int recblr_gather_state_cuda(const recblr_state_move* arguments, void* stream);

/* Copies each row of `states` to its slot of the pool; rows whose slot is negative, or n_slots or more, are left out.
 */
RECBLR_API int recblr_scatter_state_cuda(const recblr_state_move* arguments, void* stream);

/* Return the bytes of workspace that the backward pass needs: a function of the sizes alone. The arguments, not NULL,
 * are not checked. */
RECBLR_API int64_t recblr_gated_scan_workspace_cuda(const recblr_gated_scan* arguments);
RECBLR_API int64_t recblr_causal_conv1d_workspace_cuda(const recblr_causal_conv1d* arguments);

#ifdef __cplusplus
}
#endif

#endif /* RECBLR_PLUGINS_H_ */
