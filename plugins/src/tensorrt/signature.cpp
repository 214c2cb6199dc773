#include "tensorrt/signature.h"

#include <stdexcept>

namespace recblr::tensorrt {

namespace {

constexpr const char* kLetters[kSymbols] = {"N", "B", "H", "K"};

const char* name_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return "float32";
    case nvinfer1::DataType::kHALF:
      return "float16";
    case nvinfer1::DataType::kBF16:
      return "bfloat16";
    case nvinfer1::DataType::kINT32:
      return "int32";
    case nvinfer1::DataType::kINT64:
      return "int64";
    case nvinfer1::DataType::kINT8:
      return "int8";
    case nvinfer1::DataType::kBOOL:
      return "bool";
    default:
      return "of another type";
  }
}

std::string text_of(const nvinfer1::Dims& shape) {
  std::string text = "[";
  for (int32_t i = 0; i < shape.nbDims; ++i) {
    text += (i == 0 ? "" : ", ") + (shape.d[i] == kUnknown ? std::string("?") : std::to_string(shape.d[i]));
  }
  return text + "]";
}

std::string text_of(const std::vector<Extent>& extents) {
  std::string text = "[";
  for (size_t i = 0; i < extents.size(); ++i) {
    const Extent& extent = extents[i];
    text += i == 0 ? "" : ", ";
    if (extent.factor != 1) text += std::to_string(extent.factor);
    text += kLetters[extent.symbol];
    if (extent.addend != 0) text += (extent.addend > 0 ? "+" : "") + std::to_string(extent.addend);
  }
  return text + "]";
}

std::string text_of(const Sizes& sizes) {
  std::string text;
  for (int32_t symbol = 0; symbol < kSymbols; ++symbol) {
    if (sizes[symbol] == kUnknown) continue;
    text += (text.empty() ? "" : ", ") + std::string(kLetters[symbol]) + " = " + std::to_string(sizes[symbol]);
  }
  return text;
}

// Rows are told by the offsets alone.
bool defines(const Port& port, const Extent& extent) {
  return extent.factor == 1 && (extent.symbol != kRows || port.kind == Kind::kOffsets);
}

}  // namespace

const Port& Signature::port(int32_t position) const {
  const auto at = static_cast<size_t>(position);
  return at < inputs.size() ? inputs[at] : outputs.at(at - inputs.size());
}

bool Signature::accepts(Kind kind, nvinfer1::DataType type, nvinfer1::DataType data_type) {
  if (kind == Kind::kOffsets) return type == nvinfer1::DataType::kINT32;
  if (kind == Kind::kFloat32) return type == nvinfer1::DataType::kFLOAT;
  return type == data_type &&
         (type == nvinfer1::DataType::kFLOAT || type == nvinfer1::DataType::kHALF || type == nvinfer1::DataType::kBF16);
}

void Signature::check_counts(int32_t n_inputs, int32_t n_outputs) const {
  if (n_inputs == static_cast<int32_t>(inputs.size()) && n_outputs == static_cast<int32_t>(outputs.size())) return;
  throw std::invalid_argument("the node has " + std::to_string(n_inputs) + " inputs and " + std::to_string(n_outputs) +
                              " outputs; it must have " + std::to_string(inputs.size()) + " and " +
                              std::to_string(outputs.size()));
}

void Signature::check_type(int32_t position, nvinfer1::DataType type, nvinfer1::DataType data_type) const {
  const Port& at = port(position);
  if (accepts(at.kind, type, data_type)) return;
  const char* wanted = at.kind == Kind::kOffsets   ? "int32"
                       : at.kind == Kind::kFloat32 ? "float32"
                       : position == 0             ? "float32, float16 or bfloat16"
                                                   : name_of(data_type);
  throw std::invalid_argument(std::string(at.name) + " is " + name_of(type) + "; it must be " + wanted +
                              (at.kind == Kind::kData && position > 0 ? ", as " + std::string(inputs[0].name) : ""));
}

Sizes Signature::check_shapes(const std::vector<nvinfer1::Dims>& shapes) const {
  Sizes sizes;
  sizes.fill(kUnknown);
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Port& at = port(static_cast<int32_t>(i));
    if (shapes[i].nbDims != static_cast<int32_t>(at.extents.size())) {
      throw std::invalid_argument(std::string(at.name) + " is " + text_of(shapes[i]) + "; it must be " +
                                  text_of(at.extents));
    }
    for (size_t d = 0; d < at.extents.size(); ++d) {
      const Extent& extent = at.extents[d];
      int64_t& size = sizes[extent.symbol];
      if (size == kUnknown && shapes[i].d[d] != kUnknown && defines(at, extent)) {
        size = shapes[i].d[d] - extent.addend;
        if (size < (extent.symbol == kWidth || extent.symbol == kTaps ? 1 : 0)) {
          throw std::invalid_argument(std::string(at.name) + " is " + text_of(shapes[i]) + ": too small, it must be " +
                                      text_of(at.extents));
        }
      }
    }
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Port& at = port(static_cast<int32_t>(i));
    for (size_t d = 0; d < at.extents.size(); ++d) {
      const Extent& extent = at.extents[d];
      const int64_t size = sizes[extent.symbol];
      if (size == kUnknown || shapes[i].d[d] == kUnknown) continue;
      if (shapes[i].d[d] != extent.factor * size + extent.addend) {
        throw std::invalid_argument(std::string(at.name) + " is " + text_of(shapes[i]) + "; it must be " +
                                    text_of(at.extents) + " with " + text_of(sizes));
      }
    }
  }
  return sizes;
}

std::array<int32_t, 2> Signature::where(const Extent& extent) const {
  const Extent wanted = extent.symbol == kRows ? Extent{kRows, 1, 1} : extent;
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t d = 0; d < inputs[i].extents.size(); ++d) {
      if (inputs[i].extents[d] == wanted) return {static_cast<int32_t>(i), static_cast<int32_t>(d)};
    }
  }
  throw std::logic_error("an output's dimension is none of the inputs'");
}

}  // namespace recblr::tensorrt
