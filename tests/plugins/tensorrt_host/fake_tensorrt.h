// What TensorRT implements and a plugin calls: loggers and dimension expressions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensorrt/nvinfer.h"

namespace host {

template <typename Base>
class RecordingLogger : public Base {
 public:
  void log(typename Base::Severity, const char* message) noexcept override { text += std::string(message) + "\n"; }

  std::string text;
};

template <typename Base, typename Logger>
class LoggerFinder final : public Base {
 public:
  Logger* findLogger() override { return logger; }

  Logger* logger = nullptr;
};

// A dimension of known value, which the plugin may know (a constant) or not.
class Expression final : public nvinfer1::IDimensionExpr {
 public:
  Expression(int64_t value, bool constant) {
    implementation_.value = value;
    implementation_.constant = constant;
    mImpl = &implementation_;
  }
  ~Expression() override = default;

  int64_t value() const { return implementation_.value; }

 private:
  struct Implementation final : nvinfer1::apiv::VDimensionExpr {
    bool isConstant() const override { return constant; }
    int64_t getConstantValue() const override { return constant ? value : -1; }
    bool isSizeTensor() const override { return false; }
    int64_t value;
    bool constant;
  } implementation_;
};

class ExpressionBuilder final : public nvinfer1::IExprBuilder {
 public:
  ExpressionBuilder() { mImpl = &implementation_; }
  ~ExpressionBuilder() override = default;

  const Expression* make(int64_t value, bool constant) { return implementation_.make(value, constant); }

 private:
  struct Implementation final : nvinfer1::apiv::VExprBuilder {
    const Expression* make(int64_t value, bool constant) {
      made.push_back(std::make_unique<Expression>(value, constant));
      return made.back().get();
    }
    const nvinfer1::IDimensionExpr* constant(int64_t value) override { return make(value, true); }
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation op, const nvinfer1::IDimensionExpr& first,
                                              const nvinfer1::IDimensionExpr& second) override {
      if (op != nvinfer1::DimensionOperation::kSUB) return nullptr;
      const int64_t difference =
          static_cast<const Expression&>(first).value() - static_cast<const Expression&>(second).value();
      return make(difference, first.isConstant() && second.isConstant());
    }
    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
      return nullptr;
    }
    std::vector<std::unique_ptr<Expression>> made;
  } implementation_;
};

}  // namespace host
