// Compares the library's CUDA functions with its CPU functions on random ragged batches, forwards and backwards, in all
// data types, strategies and strides. Also: offsets that are wrong, which must not lead outside of the arrays, and - on
// a GPU - capture in a CUDA graph and replay with other data. For compute-sanitizer, or built against the emulator for
// the host's sanitizers: every array has its own allocation, and every output begins as NaN.
//
//   cuda_check [CASES] [SEED]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "recblr/plugins.h"

#if defined(RECBLR_EMULATED)
using Stream = void*;
static void* device_malloc(size_t bytes) { return std::malloc(bytes); }
static void device_free(void* pointer) { std::free(pointer); }
static void copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
static void synchronize(Stream) {}
#else
#include <cuda_runtime_api.h>
using Stream = cudaStream_t;
static void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "cuda_check: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}
static void* device_malloc(size_t bytes) {
  void* pointer = nullptr;
  require(cudaMalloc(&pointer, bytes), "cudaMalloc");
  return pointer;
}
static void device_free(void* pointer) { require(cudaFree(pointer), "cudaFree"); }
static void copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  require(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}
static void synchronize(Stream stream) { require(cudaStreamSynchronize(stream), "cudaStreamSynchronize"); }
#endif

namespace {

std::mt19937 generator;

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(generator); }

float to_float(uint16_t bits, int32_t dtype) {
  if (dtype == RECBLR_BFLOAT16) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
  const int exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1.0f + fraction / 1024.0f, exponent - 15) : std::ldexp(fraction / 1024.0f, -14));
}

// Bits of a value with few significant digits, which all types hold.
uint16_t to_bits(float value, int32_t dtype) {
  uint32_t wide;
  std::memcpy(&wide, &value, sizeof wide);
  if (dtype == RECBLR_BFLOAT16) return static_cast<uint16_t>(wide >> 16);
  if (value == 0.0f) return 0;
  return static_cast<uint16_t>((wide >> 16 & 0x8000) | ((wide >> 23 & 0xff) - 127 + 15) << 10 | (wide >> 13 & 0x3ff));
}

float random_value() { return static_cast<float>(between(-96, 96)) / 32.0f; }

// An array on both sides, of float32 or of a data type; random, or NaN.
struct Array {
  int32_t dtype;
  size_t count;
  std::vector<unsigned char> host;
  void* device;

  Array(int64_t n, int32_t type, bool random) : dtype(type), count(static_cast<size_t>(n)), host(count * item_bytes()) {
    for (size_t at = 0; at < count; ++at) set(at, random ? random_value() : NAN);
    device = device_malloc(host.size());
    copy(device, host.data(), host.size());
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { device_free(device); }

  size_t item_bytes() const { return dtype == RECBLR_FLOAT32 ? 4 : 2; }
  void set(size_t at, float value) {
    if (dtype == RECBLR_FLOAT32) {
      std::memcpy(host.data() + 4 * at, &value, 4);
    } else {
      const uint16_t bits = std::isnan(value) ? 0x7fff : to_bits(value, dtype);
      std::memcpy(host.data() + 2 * at, &bits, 2);
    }
  }
  float get(const std::vector<unsigned char>& from, size_t at) const {
    if (dtype == RECBLR_FLOAT32) {
      float value;
      std::memcpy(&value, from.data() + 4 * at, 4);
      return value;
    }
    uint16_t bits;
    std::memcpy(&bits, from.data() + 2 * at, 2);
    return to_float(bits, dtype);
  }
  float* floats() { return reinterpret_cast<float*>(host.data()); }

  // The device's values against the host's.
  bool agrees(const char* what, double tolerance) const {
    std::vector<unsigned char> result(host.size());
    copy(result.data(), device, result.size());
    double largest = 1.0;
    for (size_t at = 0; at < count; ++at) largest = std::fmax(largest, std::fabs(get(host, at)));
    for (size_t at = 0; at < count; ++at) {
      const double difference = std::fabs(static_cast<double>(get(host, at)) - get(result, at));
      if (!(difference <= tolerance * largest)) {
        std::printf("  %s[%zu] is %g on the GPU, %g on the CPU\n", what, at, get(result, at), get(host, at));
        return false;
      }
    }
    return true;
  }
};

double tolerance_of(int32_t dtype) { return dtype == RECBLR_FLOAT32 ? 2e-5 : dtype == RECBLR_FLOAT16 ? 2e-3 : 2e-2; }

struct Offsets {
  int32_t type;
  std::vector<int64_t> wide;
  std::vector<int32_t> narrow;
  void* device;

  Offsets(const std::vector<int64_t>& values, int32_t type_) : type(type_), wide(values) {
    for (int64_t value : values) narrow.push_back(static_cast<int32_t>(value));
    const size_t bytes = values.size() * (type == RECBLR_INT32 ? 4 : 8);
    device = device_malloc(bytes);
    copy(device, host(), bytes);
  }
  Offsets(const Offsets&) = delete;
  Offsets& operator=(const Offsets&) = delete;
  ~Offsets() { device_free(device); }
  const void* host() const { return type == RECBLR_INT32 ? static_cast<const void*>(narrow.data()) : wide.data(); }
};

bool succeeded(const char* what, int status) {
  if (status == RECBLR_OK) return true;
  std::printf("  %s: status %d, %s\n", what, status, recblr_plugins_last_error());
  return false;
}

struct Case {
  std::vector<int64_t> offsets;
  bool offsets_valid;
  int64_t width, taps;
  int32_t dtype, offsets_type, last_only, strategy;
  bool strided;

  int64_t n_rows() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t n_tokens;
};

Case random_case() {
  const int64_t lengths[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 17, 40, 65, 150, 1100};
  const int64_t widths[] = {1, 2, 3, 6, 8, 16, 30, 64, 128, 200};
  Case c;
  c.offsets = {0};
  for (int64_t row = between(1, 6); row > 0; --row) {
    c.offsets.push_back(c.offsets.back() + lengths[between(0, between(0, 9) ? 11 : 13)]);
  }
  c.n_tokens = c.offsets.back();
  c.offsets_valid = between(0, 9) != 0;
  if (!c.offsets_valid) {
    for (int64_t& offset : c.offsets) offset = between(-5, c.n_tokens + 5);
  }
  c.width = widths[between(0, 9)];
  c.taps = between(1, 6);
  c.dtype = static_cast<int32_t>(between(0, 2));
  c.offsets_type = static_cast<int32_t>(between(0, 1));
  c.last_only = static_cast<int32_t>(between(0, 1));
  c.strategy = static_cast<int32_t>(between(0, 2));
  c.strided = between(0, 1);
  return c;
}

#if !defined(RECBLR_EMULATED)
// Captures the work, and replays it.
template <typename Work>
bool run(Stream stream, bool captured, const Work& work) {
  if (!captured) return work();
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  const bool fine = work();
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  require(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  require(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  for (int replay = 0; replay < 2; ++replay) require(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
  synchronize(stream);
  require(cudaGraphExecDestroy(executable), "cudaGraphExecDestroy");
  require(cudaGraphDestroy(graph), "cudaGraphDestroy");
  return fine;
}
#else
template <typename Work>
bool run(Stream, bool, const Work& work) {
  return work();
}
#endif

bool check_scan(const Case& c, Stream stream, bool captured) {
  const int64_t n = c.n_tokens, b = c.n_rows(), h = c.width, z_rows = c.last_only ? b : n;
  const int64_t x_stride = c.strided ? 2 * h : h;
  const Offsets offsets(c.offsets, c.offsets_type);
  Array x(n * x_stride, c.dtype, true), gates(n * 2 * h, c.dtype, true), z(z_rows * x_stride, c.dtype, true);
  Array decay(h, RECBLR_FLOAT32, true), h0(b * h, RECBLR_FLOAT32, true);
  Array segment_h((n / RECBLR_SEGMENT + b) * h, RECBLR_FLOAT32, false), y(z_rows * h, c.dtype, false);
  Array last_h(b * h, RECBLR_FLOAT32, false), grad_y(z_rows * h, c.dtype, true),
      grad_last_h(b * h, RECBLR_FLOAT32, true);
  Array grad_x(n * h, c.dtype, false), grad_gates(n * 2 * h, c.dtype, false), grad_z(z_rows * h, c.dtype, false);
  Array grad_decay(h, RECBLR_FLOAT32, false), grad_h0(b * h, RECBLR_FLOAT32, false);
  recblr_gated_scan a = {};
  a.n_tokens = n, a.n_rows = b, a.width = h, a.dtype = c.dtype, a.offsets_type = c.offsets_type;
  a.x_stride = x_stride, a.z_stride = x_stride, a.last_only = c.last_only, a.n_threads = 1, a.strategy = c.strategy;
  const auto fill = [&](bool device) {
    const auto at = [device](Array& array) { return device ? array.device : array.host.data(); };
    const auto floats = [&at](Array& array) { return static_cast<float*>(at(array)); };
    a.offsets = device ? offsets.device : offsets.host();
    a.x = at(x), a.gates = at(gates), a.z = at(z), a.decay = floats(decay), a.h0 = floats(h0);
    a.segment_h = floats(segment_h), a.y = at(y), a.last_h = floats(last_h), a.grad_y = at(grad_y);
    a.grad_last_h = floats(grad_last_h), a.grad_x = at(grad_x), a.grad_gates = at(grad_gates), a.grad_z = at(grad_z);
    a.grad_decay = floats(grad_decay), a.grad_h0 = floats(grad_h0);
  };
  fill(true);
  Array workspace(recblr_gated_scan_workspace_cuda(&a) / 4, RECBLR_FLOAT32, false);
  bool fine = run(stream, captured, [&] {
    return succeeded("gated_scan_forward_cuda", recblr_gated_scan_forward_cuda(&a, stream)) &&
           succeeded("gated_scan_backward_cuda", recblr_gated_scan_backward_cuda(&a, workspace.device, stream));
  });
  synchronize(stream);
  if (!c.offsets_valid) return fine;
  fill(false);
  fine = fine && succeeded("gated_scan_forward_cpu", recblr_gated_scan_forward_cpu(&a)) &&
         succeeded("gated_scan_backward_cpu", recblr_gated_scan_backward_cpu(&a));
  const double t = tolerance_of(c.dtype);
  return fine && y.agrees("y", t) && last_h.agrees("last_h", t) && segment_h.agrees("segment_h", t) &&
         grad_x.agrees("grad_x", t) && grad_gates.agrees("grad_gates", t) && grad_z.agrees("grad_z", t) &&
         grad_decay.agrees("grad_decay", t) && grad_h0.agrees("grad_h0", t);
}

bool check_conv(const Case& c, Stream stream, bool captured) {
  const int64_t n = c.n_tokens, b = c.n_rows(), h = c.width, k = c.taps, x_stride = c.strided ? 2 * h : h;
  const Offsets offsets(c.offsets, c.offsets_type);
  Array x(n * x_stride, c.dtype, true), weight(h * k, RECBLR_FLOAT32, true), bias(h, RECBLR_FLOAT32, true);
  Array tail(b * (k - 1) * h, RECBLR_FLOAT32, true), y(n * h, c.dtype, false);
  Array new_tail(b * (k - 1) * h, RECBLR_FLOAT32, false), grad_y(n * h, c.dtype, true);
  Array grad_new_tail(b * (k - 1) * h, RECBLR_FLOAT32, true), grad_x(n * h, c.dtype, false);
  Array grad_weight(h * k, RECBLR_FLOAT32, false), grad_bias(h, RECBLR_FLOAT32, false);
  Array grad_tail(b * (k - 1) * h, RECBLR_FLOAT32, false);
  recblr_causal_conv1d a = {};
  a.n_tokens = n, a.n_rows = b, a.width = h, a.taps = k, a.dtype = c.dtype, a.offsets_type = c.offsets_type;
  a.x_stride = x_stride, a.n_threads = 1;
  const auto fill = [&](bool device) {
    const auto at = [device](Array& array) { return device ? array.device : array.host.data(); };
    const auto floats = [&at](Array& array) { return static_cast<float*>(at(array)); };
    a.offsets = device ? offsets.device : offsets.host();
    a.x = at(x), a.weight = floats(weight), a.bias = floats(bias), a.tail = floats(tail), a.y = at(y);
    a.new_tail = floats(new_tail), a.grad_y = at(grad_y), a.grad_new_tail = floats(grad_new_tail);
    a.grad_x = at(grad_x), a.grad_weight = floats(grad_weight), a.grad_bias = floats(grad_bias);
    a.grad_tail = floats(grad_tail);
  };
  fill(true);
  Array workspace(recblr_causal_conv1d_workspace_cuda(&a) / 4, RECBLR_FLOAT32, false);
  bool fine = run(stream, captured, [&] {
    return succeeded("causal_conv1d_forward_cuda", recblr_causal_conv1d_forward_cuda(&a, stream)) &&
           succeeded("causal_conv1d_backward_cuda", recblr_causal_conv1d_backward_cuda(&a, workspace.device, stream));
  });
  synchronize(stream);
  if (!c.offsets_valid) return fine;
  fill(false);
  fine = fine && succeeded("causal_conv1d_forward_cpu", recblr_causal_conv1d_forward_cpu(&a)) &&
         succeeded("causal_conv1d_backward_cpu", recblr_causal_conv1d_backward_cpu(&a));
  const double t = tolerance_of(c.dtype);
  return fine && y.agrees("y", t) && new_tail.agrees("new_tail", t) && grad_x.agrees("grad_x", t) &&
         grad_weight.agrees("grad_weight", t) && grad_bias.agrees("grad_bias", t) && grad_tail.agrees("grad_tail", t);
}

// Gathers rows from a pool and puts them back into another.
bool check_states(const Case& c, Stream stream) {
  const int64_t b = c.n_rows(), size = c.width, n_slots = b + between(0, 3);
  std::vector<int64_t> slots(static_cast<size_t>(n_slots));
  for (int64_t at = 0; at < n_slots; ++at) slots[static_cast<size_t>(at)] = at;
  std::shuffle(slots.begin(), slots.end(), generator);
  slots.resize(static_cast<size_t>(b));
  if (between(0, 1)) slots[0] = -1;
  const Offsets places(slots, c.offsets_type);
  Array pool(n_slots * size, RECBLR_FLOAT32, true), other(n_slots * size, RECBLR_FLOAT32, false);
  Array initial(size, RECBLR_FLOAT32, true), states(b * size, RECBLR_FLOAT32, false);
  recblr_state_move a = {};
  a.n_rows = b, a.n_slots = n_slots, a.state_size = size, a.slots_type = c.offsets_type, a.slots = places.device;
  a.initial = static_cast<float*>(initial.device), a.pool = static_cast<float*>(pool.device);
  a.states = static_cast<float*>(states.device);
  bool fine = succeeded("gather_state_cuda", recblr_gather_state_cuda(&a, stream));
  a.pool = static_cast<float*>(other.device);
  fine = fine && succeeded("scatter_state_cuda", recblr_scatter_state_cuda(&a, stream));
  synchronize(stream);
  std::vector<unsigned char> scattered(other.host.size());
  copy(scattered.data(), other.device, scattered.size());
  for (int64_t row = 0; row < b; ++row) {
    const int64_t slot = slots[static_cast<size_t>(row)];
    for (int64_t s = 0; s < size; ++s) {
      const size_t at = static_cast<size_t>(row * size + s), place = static_cast<size_t>(slot * size + s);
      const float expected = slot < 0 ? initial.floats()[s] : pool.floats()[place];
      std::memcpy(states.host.data() + 4 * at, &expected, 4);
      if (slot >= 0 && other.get(scattered, place) != expected) {
        std::printf("  scattered state [%ld, %ld] is %g, not %g\n", static_cast<long>(slot), static_cast<long>(s),
                    other.get(scattered, place), expected);
        return false;
      }
    }
  }
  return fine && states.agrees("gathered state", 0.0);
}

void describe(int number, const Case& c) {
  std::printf("case %d failed: width %ld, %ld taps, dtype %d, offsets of type %d, last_only %d, strategy %d%s, offsets",
              number, static_cast<long>(c.width), static_cast<long>(c.taps), c.dtype, c.offsets_type, c.last_only,
              c.strategy, c.strided ? ", strided" : "");
  for (int64_t offset : c.offsets) std::printf(" %ld", static_cast<long>(offset));
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 200;
  generator.seed(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 0);
  Stream stream = nullptr;
#if !defined(RECBLR_EMULATED)
  require(cudaStreamCreate(&stream), "cudaStreamCreate");
#endif
  int failed = 0;
  for (int number = 0; number < cases; ++number) {
    const Case c = random_case();
    const bool captured = number % 4 == 3;
    if (!(check_scan(c, stream, captured) && check_conv(c, stream, captured) && check_states(c, stream))) {
      describe(number, c);
      ++failed;
    }
  }
  std::printf("%d passed, %d failed\n", cases - failed, failed);
  return failed == 0 && cases > 0 ? 0 : 1;
}
