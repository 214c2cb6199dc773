// The values of a tensor in JSON, kept in few bytes while the tensor's type may still come.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace recblr::server {

class JsonValues {
 public:
  // Values beyond `most` are counted, but not kept.
  explicit JsonValues(int64_t most) : most_(most) {}
  void add(int64_t number);
  // What is no whole number of 64 bits; `digits` as they came.
  void add(double number, std::string_view digits);
  void add(std::string_view text);
  // What is neither a number nor a string, as messages call it.
  void add_other(std::string_view shown);

  int64_t size() const { return size_; }
  // As bytes of the protocol's `datatype`, valid until it changes; none of other types than INT64, INT32, FP32 and
  // BYTES, which are no tensor of the model's. Throws Error (kInvalidArgument) with the first value that is not of that
  // type; `name` is the tensor's.
  std::string_view bytes(std::string_view name, std::string_view datatype);

 private:
  enum Kind { kInteger, kNumber, kString, kOther, kKinds };
  struct First {  // of its kind
    int64_t place = 0;
    std::string shown;
  };
  // Counts a value; whether it is to be kept.
  bool count(Kind kind, std::string_view shown);
  // The first of what is not allowed is refused.
  void allow(std::string_view name, std::initializer_list<Kind> allowed, const char* advice) const;
  std::string_view int32_bytes(std::string_view name);
  std::string_view float_bytes();

  const int64_t most_;
  int64_t size_ = 0;
  std::optional<First> first_[kKinds];
  std::vector<int64_t> integers_;  // until there is a number of another kind
  std::vector<double> numbers_;    // all since then
  std::string bytes_;              // strings, each behind its length; or what numbers became
};

}  // namespace recblr::server
