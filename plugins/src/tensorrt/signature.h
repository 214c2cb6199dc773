// What tensors an operation takes and gives, and whether given ones fit.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorrt/nvinfer.h"

namespace recblr::tensorrt {

enum class Kind { kData, kFloat32, kOffsets };  // kData: float32, float16 or bfloat16, all of a node the same

enum Symbol : int32_t { kTokens, kRows, kWidth, kTaps, kSymbols };

// The size of a dimension: factor * symbol + addend.
struct Extent {
  Symbol symbol;
  int32_t factor = 1;
  int32_t addend = 0;

  bool operator==(const Extent& other) const {
    return symbol == other.symbol && factor == other.factor && addend == other.addend;
  }
};

struct Port {
  const char* name;
  Kind kind;
  std::vector<Extent> extents;
};

// Sizes by symbol; kUnknown where a network leaves them open.
constexpr int64_t kUnknown = -1;
using Sizes = std::array<int64_t, kSymbols>;

struct Signature {
  std::vector<Port> inputs;
  std::vector<Port> outputs;

  const Port& port(int32_t position) const;  // inputs first

  // Whether a tensor of this kind may have the type, the first input having `data_type`.
  static bool accepts(Kind kind, nvinfer1::DataType type, nvinfer1::DataType data_type);

  // Throw std::invalid_argument, saying which tensor is wrong, what it is and what it must be.
  void check_counts(int32_t n_inputs, int32_t n_outputs) const;
  void check_type(int32_t position, nvinfer1::DataType type, nvinfer1::DataType data_type) const;
  Sizes check_shapes(const std::vector<nvinfer1::Dims>& shapes) const;  // of the inputs, or of the outputs as well

  // The first input dimension of this extent, as (input, dimension). Rows are found as those of the offsets, less one.
  std::array<int32_t, 2> where(const Extent& extent) const;
};

}  // namespace recblr::tensorrt
