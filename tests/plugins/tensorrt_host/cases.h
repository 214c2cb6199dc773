// Calls of the two operations on random ragged batches, with the results that a plain computation in double gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tensorrt/nvinfer.h"

namespace host {

using DataType = nvinfer1::DataType;

const char* name_of(DataType type);
size_t size_of(DataType type);

struct Tensor {
  nvinfer1::PluginTensorDesc desc;
  std::vector<std::byte> bytes;

  Tensor(DataType type, const std::vector<int64_t>& shape);
  int64_t size() const;
  std::vector<double> values() const;
  void set(const std::vector<double>& values);  // rounded to the type
  Tensor unwritten() const;                     // of the same shape, filled with NaN
};

struct Case {
  std::string op;
  std::string text;
  int32_t last_only = 0;  // of GatedScan
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;  // as expected
};

Case gated_scan(std::mt19937& random, DataType type, const std::vector<int32_t>& lengths, int64_t width,
                bool last_only);
Case causal_conv1d(std::mt19937& random, DataType type, const std::vector<int32_t>& lengths, int64_t width,
                   int64_t taps);

// Both operations in every type, on batches of many forms: no tokens, empty rows, one long row, many short ones. The
// shapes are the same for every seed; `backwards` has the rows' lengths in the opposite order.
std::vector<Case> all_cases(unsigned seed, bool backwards = false);

// Says where `found` is further from `expected` than rounding explains; empty where nowhere.
std::string difference(const Tensor& expected, const Tensor& found);

}  // namespace host
