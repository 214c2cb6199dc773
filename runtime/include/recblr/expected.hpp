// Errors as exceptions or as values, and views; a part of recblr.hpp.
#ifndef RECBLR_EXPECTED_HPP_
#define RECBLR_EXPECTED_HPP_

#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "recblr/recblr.h"

// The classes' own name in the linker: programs that link the static library have its inner ones besides, and may have
// parts that are compiled without exceptions.
#if defined(__cpp_exceptions)
#define RECBLR_CLIENT client
#else
#define RECBLR_CLIENT client_without_exceptions
#endif

namespace recblr {
inline namespace RECBLR_CLIENT {

enum class Status : int32_t {
  kOk = RECBLR_OK,
  kInvalidArgument = RECBLR_INVALID_ARGUMENT,
  kBadConfig = RECBLR_BAD_CONFIG,
  kBadBundle = RECBLR_BAD_BUNDLE,
  kStoreFailed = RECBLR_STORE_FAILED,
  kOverloaded = RECBLR_OVERLOADED,
  kDeadline = RECBLR_DEADLINE,
  kClosed = RECBLR_CLOSED,
  kBackendFailed = RECBLR_BACKEND_FAILED,
  kForked = RECBLR_FORKED,
  kOutOfMemory = RECBLR_OUT_OF_MEMORY,
  kUnsupported = RECBLR_UNSUPPORTED,
  kCancelled = RECBLR_CANCELLED,
  kInternal = RECBLR_INTERNAL,
};

// What went wrong: for programs, and in one line for people.
struct Failure {
  Status status = Status::kOk;
  std::string message;
};

class Error : public std::runtime_error {
 public:
  explicit Error(const Failure& failure) : std::runtime_error(failure.message), status_(failure.status) {}
  Status status() const noexcept { return status_; }

 private:
  Status status_;
};

// A value, or why there is none.
template <typename Value>
class Expected {
 public:
  Expected(Value value) : content_(std::in_place_index<0>, std::move(value)) {}
  Expected(Failure failure) : content_(std::in_place_index<1>, std::move(failure)) {}

  bool has_value() const noexcept { return content_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  // Only where there is a value, or only where there is none.
  Value& operator*() & { return *std::get_if<0>(&content_); }
  const Value& operator*() const& { return *std::get_if<0>(&content_); }
  Value&& operator*() && { return std::move(*std::get_if<0>(&content_)); }
  Value* operator->() { return std::get_if<0>(&content_); }
  const Value* operator->() const { return std::get_if<0>(&content_); }
  const Failure& error() const { return *std::get_if<1>(&content_); }

 private:
  std::variant<Value, Failure> content_;
};

template <>
class Expected<void> {
 public:
  Expected() = default;
  Expected(Failure failure) : failure_(std::move(failure)) {}
  bool has_value() const noexcept { return failure_.status == Status::kOk; }
  explicit operator bool() const noexcept { return has_value(); }
  const Failure& error() const { return failure_; }

 private:
  Failure failure_;
};

// Consecutive values of somebody else's.
template <typename T>
class Span {
 public:
  constexpr Span() = default;
  constexpr Span(T* data, size_t size) : data_(data), size_(size) {}
  // Of a vector, an array or what else has data() and size().
  template <typename Container, typename = decltype(static_cast<T*>(std::declval<Container&>().data()))>
  constexpr Span(Container& container) : data_(container.data()), size_(container.size()) {}

  constexpr T* data() const { return data_; }
  constexpr size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T& operator[](size_t j) const { return data_[j]; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

namespace detail {

inline Failure last_failure(recblr_status status) { return {static_cast<Status>(status), recblr_last_error()}; }

inline Expected<void> expected(recblr_status status) {
  return status == RECBLR_OK ? Expected<void>() : Expected<void>(last_failure(status));
}

#if defined(__cpp_exceptions)
template <typename Value>
Value value_or_throw(Expected<Value> expected) {
  if (!expected) throw Error(expected.error());
  if constexpr (!std::is_void_v<Value>) return *std::move(expected);
}
#endif

// The status of code of the caller's that C calls: what it returns or throws is set as the last error. `fallback` and
// `unknown` are for exceptions that are no Error, and for such as are no std::exception.
template <typename Call>
recblr_status status_of(const Call& call, recblr_status fallback, const char* unknown) noexcept {
  const auto run = [&call] {
    const Expected<void> done = call();
    if (done) return recblr_status{RECBLR_OK};
    return recblr_set_error(static_cast<recblr_status>(done.error().status), done.error().message.c_str());
  };
#if defined(__cpp_exceptions)
  try {
    return run();
  } catch (const Error& error) {
    return recblr_set_error(static_cast<recblr_status>(error.status()), error.what());
  } catch (const std::exception& error) {
    return recblr_set_error(fallback, error.what());
  } catch (...) {
    return recblr_set_error(fallback, unknown);
  }
#else
  static_cast<void>(fallback), static_cast<void>(unknown);
  return run();
#endif
}

template <auto free>
struct Freeing {
  template <typename Handle>
  void operator()(Handle* handle) const noexcept {
    free(handle);
  }
};

}  // namespace detail

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_EXPECTED_HPP_
