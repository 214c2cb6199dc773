// Runs every CPU function on random ragged batches and compares with plain loops in double; checks what is refused.
//
// Arrays are of exactly the documented size, so that AddressSanitizer sees any access outside them. RECBLR_CPU_ISA
// chooses the instruction set. Prints what failed, and ends with status 1 if anything did.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "recblr/plugins.h"

#define RECBLR_SCALAR_NAMESPACE test
#include "cpu/scalar_math.h"

namespace {

using recblr::test::BFloat16;
using recblr::test::Half;
using recblr::test::load;
using recblr::test::store;

int failures = 0;
std::mt19937 generator(7);

void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

int64_t draw(int64_t from, int64_t to) { return std::uniform_int_distribution<int64_t>(from, to)(generator); }

template <typename T>
std::vector<T> random(int64_t size) {
  std::normal_distribution<float> normal;
  std::vector<T> values(static_cast<size_t>(size));
  for (T& value : values) store(normal(generator), &value);
  return values;
}

template <typename T>
void compare(const std::vector<T>& given, const std::vector<double>& expected, double tolerance,
             const std::string& what) {
  double largest = 1.0, error = 0.0;
  for (double value : expected) largest = std::fmax(largest, std::fabs(value));
  for (size_t at = 0; at < expected.size(); ++at) {
    const double difference = std::fabs(static_cast<double>(load(given[at])) - expected[at]);
    error = difference <= error ? error : difference;  // NaN stays
  }
  check(given.size() == expected.size() && error <= tolerance * largest,
        what + ": error " + std::to_string(error) + ", largest " + std::to_string(largest));
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

template <typename T>
struct Type;
template <>
struct Type<float> {
  static constexpr int32_t id = RECBLR_FLOAT32;
  static constexpr double tolerance = 2e-5;
};
template <>
struct Type<Half> {
  static constexpr int32_t id = RECBLR_FLOAT16;
  static constexpr double tolerance = 2e-3;
};
template <>
struct Type<BFloat16> {
  static constexpr int32_t id = RECBLR_BFLOAT16;
  static constexpr double tolerance = 1.6e-2;
};

struct Shape {
  int64_t rows, tokens, width, taps;
  bool last_only, int32_offsets;
  int32_t threads;
  std::vector<int64_t> offsets{0};
  std::vector<int32_t> short_offsets;

  Shape() : rows(draw(0, 6)), width(draw(1, 150)), taps(draw(1, 6)), last_only(draw(0, 1)), int32_offsets(draw(0, 1)) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t length = draw(0, 3) == 0 ? 0 : draw(1, 40);
      offsets.push_back(offsets.back() + length);
    }
    tokens = offsets.back();
    threads = static_cast<int32_t>(draw(0, 3));
    short_offsets.assign(offsets.begin(), offsets.end());
  }

  template <typename Arguments>
  void fill(Arguments* a) const {
    a->n_tokens = tokens;
    a->n_rows = rows;
    a->width = width;
    a->n_threads = threads;
    a->offsets_type = int32_offsets ? RECBLR_INT32 : RECBLR_INT64;
    a->offsets = int32_offsets ? static_cast<const void*>(short_offsets.data()) : offsets.data();
  }
};

// Elements of an array of `count` rows that are `stride` apart, the last one `width` wide.
int64_t strided(int64_t count, int64_t stride, int64_t width) { return count == 0 ? 0 : (count - 1) * stride + width; }

// The scan's outputs, and a scalar function of them whose gradients the backward pass must give: sum(y grad_y) +
// sum(last_h grad_last_h). Gradients are checked against central differences of it, in double.
template <typename T>
struct Scan {
  Shape shape;
  int64_t H = shape.width, outputs = shape.last_only ? shape.rows : shape.tokens;
  int64_t x_stride = H + draw(0, 3), gates_stride = 2 * H + draw(0, 3), z_stride = H + draw(0, 3);
  std::vector<T> x = random<T>(strided(shape.tokens, x_stride, H));
  std::vector<T> gates = random<T>(strided(shape.tokens, gates_stride, 2 * H));
  std::vector<T> z = random<T>(strided(outputs, z_stride, H)), grad_y = random<T>(outputs * H);
  std::vector<float> decay = random<float>(H), h0 = random<float>(shape.rows * H);
  std::vector<float> grad_last_h = random<float>(shape.rows * H);

  // Everything in double, forwards then backwards.
  struct Expected {
    std::vector<double> y, last_h, grad_x, grad_gates, grad_z, grad_decay, grad_h0;
  };

  Expected expected() const {
    Expected e;
    e.y.resize(outputs * H), e.last_h.resize(shape.rows * H), e.grad_x.resize(shape.tokens * H);
    e.grad_gates.resize(2 * shape.tokens * H), e.grad_z.resize(outputs * H), e.grad_decay.resize(H);
    e.grad_h0.resize(shape.rows * H);
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t c = 0; c < H; ++c) column(row, c, &e);
    }
    return e;
  }

  void column(int64_t row, int64_t c, Expected* e) const {
    const int64_t begin = shape.offsets[row], end = shape.offsets[row + 1], n = end - begin;
    const double rate = std::log1p(std::exp(static_cast<double>(decay[c])));
    std::vector<double> h(n + 1), grad_h(n + 1);
    const auto log_alpha = [&](int64_t t) { return -rate * sigmoid(load(gates[t * gates_stride + c])); };
    const auto norm = [&](int64_t t) { return std::sqrt(-std::expm1(2 * log_alpha(t)) + 1e-8); };
    const auto input = [&](int64_t t) { return static_cast<double>(load(x[t * x_stride + c])); };
    const auto open = [&](int64_t t) { return sigmoid(load(gates[t * gates_stride + H + c])); };
    const auto output = [&](int64_t at, double state, double* grad_state) {
      const double gate = load(z[at * z_stride + c]), s = sigmoid(gate), grad = load(grad_y[at * H + c]);
      e->y[at * H + c] = gate * s * state;
      e->grad_z[at * H + c] = grad * state * (s + gate * s * (1 - s));
      *grad_state += grad * gate * s;
    };
    h[0] = h0[row * H + c];
    for (int64_t t = 0; t < n; ++t) {
      h[t + 1] = std::exp(log_alpha(begin + t)) * h[t] + norm(begin + t) * open(begin + t) * input(begin + t);
      if (!shape.last_only) output(begin + t, h[t + 1], &grad_h[t + 1]);
    }
    e->last_h[row * H + c] = h[n];
    grad_h[n] += grad_last_h[row * H + c];
    if (shape.last_only) output(row, h[n], &grad_h[n]);
    for (int64_t t = n - 1; t >= 0; --t) {
      const int64_t at = begin + t;
      const double alpha = std::exp(log_alpha(at)), r = sigmoid(load(gates[at * gates_stride + c])), i = open(at);
      const double grad = grad_h[t + 1];
      e->grad_x[at * H + c] = grad * norm(at) * i;
      e->grad_gates[2 * at * H + H + c] = grad * norm(at) * input(at) * i * (1 - i);
      const double grad_log = grad * (h[t] * alpha - alpha * alpha / norm(at) * i * input(at));
      e->grad_gates[2 * at * H + c] = -rate * grad_log * r * (1 - r);
      e->grad_decay[c] -= grad_log * r * sigmoid(decay[c]);
      grad_h[t] += grad * alpha;
    }
    e->grad_h0[row * H + c] = grad_h[0];
  }

  void run() const {
    std::vector<T> y(outputs * H), grad_x(shape.tokens * H), grad_gates(2 * shape.tokens * H), grad_z(outputs * H);
    std::vector<float> last_h(shape.rows * H), grad_decay(H), grad_h0(shape.rows * H);
    std::vector<float> segment_h((shape.tokens / RECBLR_SEGMENT + shape.rows) * H, NAN);
    recblr_gated_scan a{};
    shape.fill(&a);
    a.dtype = Type<T>::id, a.last_only = shape.last_only;
    a.x_stride = x_stride, a.gates_stride = gates_stride, a.z_stride = z_stride;
    a.x = x.data(), a.gates = gates.data(), a.z = z.data(), a.decay = decay.data(), a.h0 = h0.data();
    a.segment_h = segment_h.data(), a.y = y.data(), a.last_h = last_h.data();
    a.grad_y = grad_y.data(), a.grad_last_h = grad_last_h.data(), a.grad_x = grad_x.data();
    a.grad_gates = grad_gates.data(), a.grad_z = grad_z.data(), a.grad_decay = grad_decay.data();
    a.grad_h0 = grad_h0.data();
    check(recblr_gated_scan_forward_cpu(&a) == RECBLR_OK, "gated_scan_forward");
    check(recblr_gated_scan_backward_cpu(&a) == RECBLR_OK, "gated_scan_backward");
    const Expected e = expected();
    const double low = Type<T>::tolerance, high = Type<float>::tolerance * 5;
    compare(y, e.y, low, "scan y"), compare(last_h, e.last_h, high, "scan last_h");
    compare(grad_x, e.grad_x, low, "scan grad_x"), compare(grad_gates, e.grad_gates, low, "scan grad_gates");
    compare(grad_z, e.grad_z, low, "scan grad_z"), compare(grad_decay, e.grad_decay, high, "scan grad_decay");
    compare(grad_h0, e.grad_h0, high, "scan grad_h0");
    std::vector<T> again(y.size());
    std::vector<float> last_again(last_h.size());
    a.segment_h = nullptr, a.y = again.data(), a.last_h = last_again.data();
    check(recblr_gated_scan_forward_cpu(&a) == RECBLR_OK && last_again == last_h, "scan without segment_h");
  }
};

template <typename T>
struct Convolution {
  Shape shape;
  int64_t H = shape.width, K = shape.taps, x_stride = H + draw(0, 3);
  std::vector<T> x = random<T>(strided(shape.tokens, x_stride, H)), grad_y = random<T>(shape.tokens * H);
  std::vector<float> weight = random<float>(H * K), bias = random<float>(H);
  std::vector<float> tail = random<float>(shape.rows * (K - 1) * H), grad_new_tail = random<float>(tail.size());

  void run() const {
    std::vector<T> y(shape.tokens * H), grad_x(shape.tokens * H);
    std::vector<float> new_tail(tail.size()), grad_weight(H * K), grad_bias(H), grad_tail(tail.size());
    recblr_causal_conv1d a{};
    shape.fill(&a);
    a.taps = K, a.x_stride = x_stride, a.dtype = Type<T>::id;
    a.x = x.data(), a.weight = weight.data(), a.bias = bias.data(), a.tail = tail.data();
    a.y = y.data(), a.new_tail = new_tail.data(), a.grad_y = grad_y.data(), a.grad_new_tail = grad_new_tail.data();
    a.grad_x = grad_x.data(), a.grad_weight = grad_weight.data(), a.grad_bias = grad_bias.data();
    a.grad_tail = grad_tail.data();
    check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_OK, "causal_conv1d_forward");
    check(recblr_causal_conv1d_backward_cpu(&a) == RECBLR_OK, "causal_conv1d_backward");

    std::vector<double> e_y(y.size()), e_tail(tail.size()), e_grad_x(y.size()), e_weight(H * K), e_bias(H);
    std::vector<double> e_grad_tail(tail.size());
    for (int64_t row = 0; row < shape.rows; ++row) {
      const int64_t begin = shape.offsets[row], n = shape.offsets[row + 1] - begin;
      for (int64_t c = 0; c < H; ++c) {
        const auto tail_at = [&](int64_t slot) { return (row * (K - 1) + slot) * H + c; };
        std::vector<double> in(n + K - 1), grad(n + K - 1);  // with the tail in front
        for (int64_t p = 0; p < n + K - 1; ++p) {
          in[p] = p < K - 1 ? tail[tail_at(p)] : load(x[(begin + p - (K - 1)) * x_stride + c]);
        }
        for (int64_t slot = 0; slot < K - 1; ++slot) {
          e_tail[tail_at(slot)] = in[n + slot];
          grad[n + slot] += grad_new_tail[tail_at(slot)];
        }
        for (int64_t t = 0; t < n; ++t) {
          double sum = bias[c];
          for (int64_t tap = 0; tap < K; ++tap) sum += weight[c * K + tap] * in[t + tap];
          const double s = sigmoid(sum), g = load(grad_y[(begin + t) * H + c]) * (s + sum * s * (1 - s));
          e_y[(begin + t) * H + c] = sum * s;
          e_bias[c] += g;
          for (int64_t tap = 0; tap < K; ++tap) {
            e_weight[c * K + tap] += g * in[t + tap];
            grad[t + tap] += g * weight[c * K + tap];
          }
        }
        for (int64_t p = 0; p < n + K - 1; ++p) {
          (p < K - 1 ? e_grad_tail[tail_at(p)] : e_grad_x[(begin + p - (K - 1)) * H + c]) = grad[p];
        }
      }
    }
    const double low = Type<T>::tolerance, high = Type<float>::tolerance;
    compare(y, e_y, low, "conv y"), compare(new_tail, e_tail, 0, "conv new_tail");
    compare(grad_x, e_grad_x, low, "conv grad_x"), compare(grad_weight, e_weight, high, "conv grad_weight");
    compare(grad_bias, e_bias, high, "conv grad_bias"), compare(grad_tail, e_grad_tail, high, "conv grad_tail");
  }
};

template <typename T>
void training() {
  const int64_t rows = draw(0, 5), width = draw(2, 2500);
  std::vector<T> logits = random<T>(rows * width);
  std::vector<int64_t> targets;
  std::vector<double> expected(logits.size()), e_losses;
  for (int64_t row = 0; row < rows; ++row) {
    targets.push_back(draw(1, width - 1));
    double sum = 0;
    for (int64_t c = 1; c < width; ++c) sum += std::exp(static_cast<double>(load(logits[row * width + c])));
    for (int64_t c = 1; c < width; ++c) expected[row * width + c] = std::exp(load(logits[row * width + c])) / sum;
    e_losses.push_back(-std::log(expected[row * width + targets[row]]));
    expected[row * width + targets[row]] -= 1;
  }
  std::vector<float> losses(rows);
  recblr_cross_entropy a{};
  a.n_rows = rows, a.width = width, a.dtype = Type<T>::id, a.n_threads = 2;
  a.targets = targets.data(), a.logits = logits.data(), a.losses = losses.data();
  check(recblr_cross_entropy_cpu(&a) == RECBLR_OK, "cross_entropy");
  compare(logits, expected, Type<T>::tolerance, "cross_entropy gradient");
  compare(losses, e_losses, 2e-5, "cross_entropy losses");

  std::vector<T> x = random<T>(draw(0, 40000)), y(x.size());
  recblr_dropout d{};
  d.n_elements = static_cast<int64_t>(x.size()), d.seed = generator(), d.p = 0.25f, d.dtype = Type<T>::id,
  d.n_threads = 2;
  d.x = x.data(), d.y = y.data();
  check(recblr_dropout_cpu(&d) == RECBLR_OK, "dropout");
  std::vector<double> kept(x.size());
  int64_t dropped = 0;
  for (size_t at = 0; at < x.size(); ++at) {
    dropped += load(y[at]) == 0;
    kept[at] = load(y[at]) == 0 ? 0 : load(x[at]) / 0.75;
  }
  compare(y, kept, Type<T>::tolerance, "dropout of what is kept");
  const double n = static_cast<double>(x.size());
  check(std::fabs(static_cast<double>(dropped) - 0.25 * n) <= 6 * std::sqrt(n) + 1, "dropout's rate");
}

void refusals() {
  check(recblr_gated_scan_forward_cpu(nullptr) == RECBLR_INVALID_ARGUMENT, "NULL arguments");
  check(recblr_dropout_cpu(nullptr) == RECBLR_INVALID_ARGUMENT, "NULL arguments of dropout");
  check(recblr_cross_entropy_cpu(nullptr) == RECBLR_INVALID_ARGUMENT, "NULL arguments of the cross-entropy");
  const std::vector<int64_t> offsets{0, 2, 1, 3};
  recblr_causal_conv1d a{};
  a.n_tokens = 3, a.n_rows = 3, a.width = 1, a.taps = 1, a.offsets = offsets.data();
  check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_INVALID_ARGUMENT, "offsets that fall");
  check(std::string(recblr_plugins_last_error()) == "offsets fall after row 1", "the message on offsets that fall");
  a.n_tokens = 4;
  check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_INVALID_ARGUMENT, "offsets that end early");
  a.n_rows = 0;
  check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_INVALID_ARGUMENT, "tokens in no row");
  a.n_tokens = 0, a.taps = 0;
  check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_INVALID_ARGUMENT, "no taps");
  a.dtype = 9;
  check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_INVALID_ARGUMENT, "unknown dtype");
  a.dtype = 0, a.offsets_type = 9;
  check(recblr_causal_conv1d_forward_cpu(&a) == RECBLR_INVALID_ARGUMENT, "unknown type of offsets");
  recblr_dropout d{};
  d.p = 1.0f;
  check(recblr_dropout_cpu(&d) == RECBLR_INVALID_ARGUMENT, "dropout of everything");
  const int64_t target = 3;
  std::vector<float> logits(3), losses(1);
  recblr_cross_entropy c{};
  c.n_rows = 1, c.width = 3, c.targets = &target, c.logits = logits.data(), c.losses = losses.data();
  check(recblr_cross_entropy_cpu(&c) == RECBLR_INVALID_ARGUMENT, "a target outside the catalogue");
}

template <typename T>
void everything() {
  for (int round = 0; round < 25; ++round) {
    Scan<T>().run();
    Convolution<T>().run();
    training<T>();
  }
}

}  // namespace

int main() {
  everything<float>();
  everything<Half>();
  everything<BFloat16>();
  refusals();
  std::printf(failures == 0 ? "all CPU functions agree with the plain loops\n" : "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}
