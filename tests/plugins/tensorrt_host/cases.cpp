#include "cases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#define RECBLR_SCALAR_NAMESPACE host
#include "cpu/scalar_math.h"

namespace host {

namespace {

using recblr::host::BFloat16;
using recblr::host::Half;

template <typename Stored>
double read(const std::byte* at) {
  Stored stored;
  std::memcpy(&stored, at, sizeof stored);
  if constexpr (std::is_same_v<Stored, Half> || std::is_same_v<Stored, BFloat16>) {
    return recblr::host::load(stored);
  } else {
    return static_cast<double>(stored);
  }
}

template <typename Stored>
void write(double value, std::byte* at) {
  Stored stored;
  if constexpr (std::is_same_v<Stored, Half> || std::is_same_v<Stored, BFloat16>) {
    recblr::host::store(static_cast<float>(value), &stored);
  } else {
    stored = static_cast<Stored>(value);
  }
  std::memcpy(at, &stored, sizeof stored);
}

Tensor normal(std::mt19937& random, DataType type, const std::vector<int64_t>& shape, double mean = 0.0) {
  Tensor tensor(type, shape);
  std::normal_distribution<double> distribution(mean, 1.0);
  std::vector<double> values(static_cast<size_t>(tensor.size()));
  for (double& value : values) value = distribution(random);
  tensor.set(values);
  return tensor;
}

Tensor offsets_of(const std::vector<int32_t>& lengths) {
  std::vector<double> values{0.0};
  for (const int32_t length : lengths) values.push_back(values.back() + length);
  Tensor tensor(DataType::kINT32, {static_cast<int64_t>(values.size())});
  tensor.set(values);
  return tensor;
}

int64_t sum_of(const std::vector<int32_t>& lengths) {
  int64_t sum = 0;
  for (const int32_t length : lengths) sum += length;
  return sum;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double softplus(double x) { return x > 30.0 ? x : std::log1p(std::exp(x)); }

std::string describe(const std::string& op, DataType type, const std::vector<int32_t>& lengths, int64_t width) {
  return op + " " + name_of(type) + ", " + std::to_string(sum_of(lengths)) + " tokens in " +
         std::to_string(lengths.size()) + " rows, width " + std::to_string(width);
}

}  // namespace

const char* name_of(DataType type) {
  return type == DataType::kFLOAT  ? "float32"
         : type == DataType::kHALF ? "float16"
         : type == DataType::kBF16 ? "bfloat16"
                                   : "int32";
}

size_t size_of(DataType type) { return type == DataType::kHALF || type == DataType::kBF16 ? 2 : 4; }

Tensor::Tensor(DataType type, const std::vector<int64_t>& shape) : desc{} {
  desc.type = type;
  desc.format = nvinfer1::TensorFormat::kLINEAR;
  desc.scale = 1.0f;
  desc.dims.nbDims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), desc.dims.d);
  bytes.resize(static_cast<size_t>(size()) * size_of(type));
}

int64_t Tensor::size() const {
  int64_t product = 1;
  for (int32_t d = 0; d < desc.dims.nbDims; ++d) product *= desc.dims.d[d];
  return product;
}

std::vector<double> Tensor::values() const {
  const auto read_one = desc.type == DataType::kFLOAT  ? read<float>
                        : desc.type == DataType::kHALF ? read<Half>
                        : desc.type == DataType::kBF16 ? read<BFloat16>
                                                       : read<int32_t>;
  std::vector<double> result(static_cast<size_t>(size()));
  for (size_t i = 0; i < result.size(); ++i) result[i] = read_one(bytes.data() + i * size_of(desc.type));
  return result;
}

void Tensor::set(const std::vector<double>& values) {
  const auto write_one = desc.type == DataType::kFLOAT  ? write<float>
                         : desc.type == DataType::kHALF ? write<Half>
                         : desc.type == DataType::kBF16 ? write<BFloat16>
                                                        : write<int32_t>;
  for (size_t i = 0; i < values.size(); ++i) write_one(values[i], bytes.data() + i * size_of(desc.type));
}

Tensor Tensor::unwritten() const {
  Tensor made = *this;
  std::fill(made.bytes.begin(), made.bytes.end(), std::byte{0xff});
  return made;
}

Case gated_scan(std::mt19937& random, DataType type, const std::vector<int32_t>& lengths, int64_t width,
                bool last_only) {
  const int64_t tokens = sum_of(lengths), rows = static_cast<int64_t>(lengths.size());
  const int64_t z_length = last_only ? rows : tokens;
  Case made;
  made.op = "GatedScan";
  made.text = describe(made.op, type, lengths, width) + (last_only ? ", last only" : "");
  made.last_only = last_only;
  made.inputs = {normal(random, type, {tokens, width}),
                 normal(random, type, {tokens, 2 * width}),
                 normal(random, type, {z_length, width}),
                 normal(random, DataType::kFLOAT, {width}, -3.0),
                 offsets_of(lengths),
                 normal(random, DataType::kFLOAT, {rows, width})};
  made.outputs = {Tensor(type, {z_length, width}), Tensor(DataType::kFLOAT, {rows, width})};

  const auto x = made.inputs[0].values(), gates = made.inputs[1].values(), z = made.inputs[2].values();
  const auto decay = made.inputs[3].values(), h0 = made.inputs[5].values();
  std::vector<double> y(static_cast<size_t>(z_length * width)), last_h(static_cast<size_t>(rows * width));
  const auto gated = [&](int64_t place, double h) { return h * z[place] * sigmoid(z[place]); };
  for (int64_t row = 0, token = 0; row < rows; ++row) {
    for (int64_t c = 0; c < width; ++c) {
      double h = h0[row * width + c];
      for (int64_t t = token; t < token + lengths[row]; ++t) {
        const double log_alpha = -softplus(decay[c]) * sigmoid(gates[t * 2 * width + c]);
        const double input_gate = sigmoid(gates[t * 2 * width + width + c]);
        const double beta = std::sqrt(-std::expm1(2.0 * log_alpha) + 1e-8) * input_gate;
        h = std::exp(log_alpha) * h + beta * x[t * width + c];
        if (!last_only) y[t * width + c] = gated(t * width + c, h);
      }
      if (last_only) y[row * width + c] = gated(row * width + c, h);
      last_h[row * width + c] = h;
    }
    token += lengths[row];
  }
  made.outputs[0].set(y);
  made.outputs[1].set(last_h);
  return made;
}

Case causal_conv1d(std::mt19937& random, DataType type, const std::vector<int32_t>& lengths, int64_t width,
                   int64_t taps) {
  const int64_t tokens = sum_of(lengths), rows = static_cast<int64_t>(lengths.size()), past = taps - 1;
  Case made;
  made.op = "CausalConv1d";
  made.text = describe(made.op, type, lengths, width) + ", taps " + std::to_string(taps);
  made.inputs = {normal(random, type, {tokens, width}), normal(random, DataType::kFLOAT, {width, taps}),
                 normal(random, DataType::kFLOAT, {width}), offsets_of(lengths),
                 normal(random, DataType::kFLOAT, {rows, past, width})};
  made.outputs = {Tensor(type, {tokens, width}), Tensor(DataType::kFLOAT, {rows, past, width})};

  const auto x = made.inputs[0].values(), weight = made.inputs[1].values(), bias = made.inputs[2].values();
  const auto tail = made.inputs[4].values();
  std::vector<double> y(static_cast<size_t>(tokens * width)), new_tail(static_cast<size_t>(rows * past * width));
  for (int64_t row = 0, token = 0; row < rows; ++row) {
    // Position p of the row, from -past on.
    const auto input = [&](int64_t p, int64_t c) {
      return p >= 0 ? x[(token + p) * width + c] : tail[(row * past + past + p) * width + c];
    };
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t p = 0; p < lengths[row]; ++p) {
        double sum = bias[c];
        for (int64_t k = 0; k < taps; ++k) sum += weight[c * taps + k] * input(p - past + k, c);
        y[(token + p) * width + c] = sum * sigmoid(sum);
      }
      for (int64_t k = 0; k < past; ++k) new_tail[(row * past + k) * width + c] = input(lengths[row] - past + k, c);
    }
    token += lengths[row];
  }
  made.outputs[0].set(y);
  made.outputs[1].set(new_tail);
  return made;
}

std::vector<Case> all_cases(unsigned seed, bool backwards) {
  std::mt19937 random(seed), random_length(0);
  const auto ragged = [&](size_t rows, uint32_t longest) {
    std::vector<int32_t> lengths(rows);
    for (int32_t& length : lengths) length = static_cast<int32_t>(random_length() % (longest + 1));
    return lengths;
  };
  std::vector<std::pair<std::vector<int32_t>, int64_t>> batches{{{1}, 1},
                                                                {{0, 0}, 16},
                                                                {{5, 0, 3}, 33},
                                                                {{200, 1, 0, 37}, 128},
                                                                {{3000}, 40},
                                                                {std::vector<int32_t>(256, 1), 128},
                                                                {ragged(64, 100), 96},
                                                                {ragged(17, 200), 256}};
  std::vector<Case> cases;
  for (auto& [lengths, width] : batches) {
    if (backwards) std::reverse(lengths.begin(), lengths.end());
    for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
      cases.push_back(gated_scan(random, type, lengths, width, false));
      cases.push_back(gated_scan(random, type, lengths, width, true));
      for (const int64_t taps : {1, 2, 4, 7}) cases.push_back(causal_conv1d(random, type, lengths, width, taps));
    }
  }
  return cases;
}

std::string difference(const Tensor& expected, const Tensor& found) {
  // A result may round to the neighbour of what the reference rounds to; float32 has room for sums in another order.
  const double tolerance = expected.desc.type == DataType::kHALF   ? 0.002
                           : expected.desc.type == DataType::kBF16 ? 0.016
                                                                   : 0.0001;
  const std::vector<double> wanted = expected.values(), got = found.values();
  if (wanted.size() != got.size()) return "another size";
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (!(std::abs(got[i] - wanted[i]) <= tolerance * (1.0 + std::abs(wanted[i])))) {
      return "element " + std::to_string(i) + " is " + std::to_string(got[i]) + ", not " + std::to_string(wanted[i]);
    }
  }
  return "";
}

}  // namespace host
