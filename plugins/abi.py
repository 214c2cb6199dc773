"""The C ABI's structures for ctypes. `include/recblr/plugins.h` says what each field means."""

from __future__ import annotations

import ctypes

OK = 0
OUT_OF_MEMORY = 10
FLOAT32, FLOAT16, BFLOAT16 = 0, 1, 2
INT64, INT32 = 0, 1
SEGMENT = 4
BY_SHAPE, ROWS_IN_THREADS, ROWS_IN_BLOCKS = 0, 1, 2

_Pointer = ctypes.c_void_p


class GatedScan(ctypes.Structure):
    """Arguments of the gated linear recurrence, forward and backward: `recblr_gated_scan`."""

    _fields_ = (
        ("n_tokens", ctypes.c_int64),
        ("n_rows", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("x_stride", ctypes.c_int64),
        ("gates_stride", ctypes.c_int64),
        ("z_stride", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("offsets_type", ctypes.c_int32),
        ("last_only", ctypes.c_int32),
        ("n_threads", ctypes.c_int32),
        ("strategy", ctypes.c_int32),
        ("offsets", _Pointer),
        ("x", _Pointer),
        ("gates", _Pointer),
        ("z", _Pointer),
        ("decay", _Pointer),
        ("h0", _Pointer),
        ("segment_h", _Pointer),
        ("y", _Pointer),
        ("last_h", _Pointer),
        ("grad_y", _Pointer),
        ("grad_last_h", _Pointer),
        ("grad_x", _Pointer),
        ("grad_gates", _Pointer),
        ("grad_z", _Pointer),
        ("grad_decay", _Pointer),
        ("grad_h0", _Pointer),
    )


class CausalConv1d(ctypes.Structure):
    """Arguments of the causal convolution, forward and backward: `recblr_causal_conv1d`."""

    _fields_ = (
        ("n_tokens", ctypes.c_int64),
        ("n_rows", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("taps", ctypes.c_int64),
        ("x_stride", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("offsets_type", ctypes.c_int32),
        ("n_threads", ctypes.c_int32),
        ("offsets", _Pointer),
        ("x", _Pointer),
        ("weight", _Pointer),
        ("bias", _Pointer),
        ("tail", _Pointer),
        ("y", _Pointer),
        ("new_tail", _Pointer),
        ("grad_y", _Pointer),
        ("grad_new_tail", _Pointer),
        ("grad_x", _Pointer),
        ("grad_weight", _Pointer),
        ("grad_bias", _Pointer),
        ("grad_tail", _Pointer),
    )


class StateMove(ctypes.Structure):
    """Arguments of a move of states between a pool and a batch: `recblr_state_move`."""

    _fields_ = (
        ("n_rows", ctypes.c_int64),
        ("n_slots", ctypes.c_int64),
        ("state_size", ctypes.c_int64),
        ("slots_type", ctypes.c_int32),
        ("slots", _Pointer),
        ("initial", _Pointer),
        ("pool", _Pointer),
        ("states", _Pointer),
    )


class Dropout(ctypes.Structure):
    """Arguments of dropout: `recblr_dropout`."""

    _fields_ = (
        ("n_elements", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
        ("p", ctypes.c_float),
        ("dtype", ctypes.c_int32),
        ("n_threads", ctypes.c_int32),
        ("x", _Pointer),
        ("y", _Pointer),
    )


class CrossEntropy(ctypes.Structure):
    """Arguments of the cross-entropy of a chunk of logits: `recblr_cross_entropy`."""

    _fields_ = (
        ("n_rows", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("n_threads", ctypes.c_int32),
        ("keep_logits", ctypes.c_int32),
        ("targets", _Pointer),
        ("logits", _Pointer),
        ("losses", _Pointer),
    )
