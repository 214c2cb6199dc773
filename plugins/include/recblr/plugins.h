/* The C ABI of librecblr_plugins.so. Plain C: callable from C, C++, Python's ctypes and any other FFI.
 *
 * Dimensions: B rows, N tokens, H inner width, K taps of the convolution. A batch is ragged: row b has the tokens
 * offsets[b] to offsets[b+1]-1, and offsets has B+1 entries that start at 0, do not fall, and end at N. All arrays are
 * dense and row-major. "data" arrays are of the parameters' dtype; all others are float32 as declared. Arithmetic and
 * state are float32. No function keeps a pointer.
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
#define RECBLR_ABI_VERSION 2

/* What functions return. Anything but RECBLR_OK means that outputs are not to be used. */
#define RECBLR_OK 0
#define RECBLR_INVALID_ARGUMENT 1
#define RECBLR_OUT_OF_MEMORY 2

/* Types of data arrays. */
#define RECBLR_FLOAT32 0
#define RECBLR_FLOAT16 1
#define RECBLR_BFLOAT16 2

/* Returns RECBLR_ABI_VERSION of the library that is loaded. */
RECBLR_API int recblr_abi_version(void);

/* Returns the version of the project the library was built from, as a static NUL-terminated string. */
RECBLR_API const char* recblr_version(void);

/* Returns what was wrong with this thread's last call that did not return RECBLR_OK. Valid until its next call. */
RECBLR_API const char* recblr_last_error(void);

/* The gated linear recurrence:
 *   r = sigmoid(gates[:, :H])        i = sigmoid(gates[:, H:])
 *   alpha = exp(-softplus(decay) r)  beta = sqrt(1 - alpha^2 + 1e-8) i
 *   h_t = alpha_t h_{t-1} + beta_t x_t      y_t = SiLU(z_t) h_t
 */
typedef struct recblr_gated_scan {
  int64_t n_tokens;
  int64_t n_rows;
  int64_t width;
  int32_t dtype;
  int32_t last_only; /* 1: z, y and their gradients are [B, H], at each row's last token; empty rows read h0 */
  int32_t n_threads; /* at most so many; below 1 is 1 */
  const int64_t* offsets;
  const void* x;      /* data [N, H] */
  const void* gates;  /* data [N, 2H] */
  const void* z;      /* data [N, H], or [B, H] */
  const float* decay; /* [H] */
  const float* h0;    /* [B, H] */
  float* h;           /* [N, H]: written by forward where not NULL, read by backward */
  /* forward */
  void* y;       /* data, as z */
  float* last_h; /* [B, H] */
  /* backward */
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
  int64_t taps; /* K */
  int32_t dtype;
  int32_t n_threads;
  const int64_t* offsets;
  const void* x;       /* data [N, H] */
  const float* weight; /* [H, K]; the last tap meets the current token */
  const float* bias;   /* [H] */
  const float* tail;   /* [B, K-1, H] */
  /* forward */
  void* y;         /* data [N, H] */
  float* new_tail; /* [B, K-1, H] */
  /* backward */
  const void* grad_y;         /* data [N, H] */
  const float* grad_new_tail; /* [B, K-1, H] */
  void* grad_x;               /* data [N, H] */
  float* grad_weight;         /* [H, K] */
  float* grad_bias;           /* [H] */
  float* grad_tail;           /* [B, K-1, H] */
} recblr_causal_conv1d;

/* On the CPU. Results do not depend on the number of threads, nor a row's on the other rows. */
RECBLR_API int recblr_gated_scan_forward_cpu(const recblr_gated_scan* arguments);
RECBLR_API int recblr_gated_scan_backward_cpu(const recblr_gated_scan* arguments);
RECBLR_API int recblr_causal_conv1d_forward_cpu(const recblr_causal_conv1d* arguments);
RECBLR_API int recblr_causal_conv1d_backward_cpu(const recblr_causal_conv1d* arguments);

#ifdef __cplusplus
}
#endif

#endif /* RECBLR_PLUGINS_H_ */
