// read_question of tensors.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "serving/tensors.h"
#include "serving/text.h"

namespace recblr::serving {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error({Status::kInvalidArgument, message}); }

constexpr std::array<std::string_view, 8> kInputs = {"item_ids",    "lengths",         "offsets",         "state_in",
                                                     "exclude_ids", "exclude_lengths", "exclude_offsets", "only_ids"};
constexpr std::array<std::string_view, 6> kOutputs = {"items", "scores", "counts", "unknown", "popular", "state_out"};

// Of the protocol and its clients; their parameters have these names, or names that begin so.
constexpr std::array<std::string_view, 6> kForeignParameters = {"priority", "sequence_", "binary_data",
                                                                "triton_",  "headers",   "content_type"};

template <size_t size>
size_t place_of(std::string_view name, const std::array<std::string_view, size>& names) {
  return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

template <size_t size>
std::string listed(const std::array<std::string_view, size>& names) {
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

// Names and values of known tensors are short, and shown as they are.
std::string name_of(const Tensor& tensor) { return std::string(tensor.name); }

// The inputs by their names.
class Inputs {
 public:
  explicit Inputs(const std::vector<Tensor>& tensors) {
    for (const Tensor& tensor : tensors) {
      const size_t place = place_of(tensor.name, kInputs);
      if (place == kInputs.size()) {
        refuse("input " + shown(tensor.name) + " is no tensor of this model: use " + listed(kInputs));
      }
      if (found_[place] != nullptr) refuse("input " + name_of(tensor) + " is given twice: give it once");
      found_[place] = &tensor;
    }
  }
  // nullptr where it was not given.
  const Tensor* find(std::string_view name) const { return found_[place_of(name, kInputs)]; }

 private:
  std::array<const Tensor*, kInputs.size()> found_{};
};

// How many elements there are. Refuses negative dimensions and products beyond 64 bits.
int64_t count_of(const Tensor& tensor) {
  int64_t count = 1;
  for (const int64_t size : tensor.shape) {
    if (size < 0) refuse(name_of(tensor) + " has shape " + shown_list(tensor.shape) + ": give dimensions of 0 or more");
    if (__builtin_mul_overflow(count, size, &count)) {
      refuse(name_of(tensor) + " has shape " + shown_list(tensor.shape) +
             ", more than there can be: send its real one");
    }
  }
  return count;
}

// A list's elements. `meaning` is its shape in words.
int64_t list_size(const Tensor& tensor, const char* meaning) {
  if (tensor.shape.size() != 1) {
    refuse(name_of(tensor) + " has shape " + shown_list(tensor.shape) + ": give one dimension, " + meaning);
  }
  return count_of(tensor);
}

void check_bytes(const Tensor& tensor, int64_t count, int64_t size) {
  const auto given = static_cast<int64_t>(tensor.content.size());
  if (given % size == 0 && given / size == count) return;
  refuse(name_of(tensor) + " has " + std::to_string(given) + " bytes, but shape " + shown_list(tensor.shape) + " of " +
         std::string(tensor.datatype) + " are " + std::to_string(count) + " times " + std::to_string(size) +
         ": send as many as the shape says");
}

bool has_type(const Tensor& tensor, DataType type) { return tensor.datatype == name_of(type); }

[[noreturn]] void refuse_type(const Tensor& tensor, const char* advice) {
  refuse(name_of(tensor) + " is of type " + shown(tensor.datatype) + ": send " + advice);
}

template <typename Number>
Number number_at(std::string_view content, int64_t j) {
  Number number;
  std::memcpy(&number, content.data() + j * static_cast<int64_t>(sizeof number), sizeof number);
  return number;
}

int64_t integer_at(const Tensor& tensor, bool is_wide, int64_t j) {
  return is_wide ? number_at<int64_t>(tensor.content, j) : number_at<int32_t>(tensor.content, j);
}

// Checks a list of integers and says whether they have 64 bits.
bool check_integers(const Tensor& tensor, int64_t count, const char* advice) {
  const bool is_wide = has_type(tensor, DataType::kInt64);
  if (!is_wide && !has_type(tensor, DataType::kInt32)) refuse_type(tensor, advice);
  check_bytes(tensor, count, is_wide ? 8 : 4);
  return is_wide;
}

// Takes the strings of a BYTES tensor one by one.
class Strings {
 public:
  Strings(const Tensor& tensor, int64_t count) : tensor_(tensor), count_(count) {}
  std::string_view next() {
    uint32_t size;
    const size_t left = tensor_.content.size() - at_;
    if (left < sizeof size) refuse_end();
    std::memcpy(&size, tensor_.content.data() + at_, sizeof size);
    if (left - sizeof size < size) refuse_end();
    const std::string_view string = tensor_.content.substr(at_ + sizeof size, size);
    at_ += sizeof size + size;
    ++taken_;
    return string;
  }
  void check_end() const {
    if (at_ == tensor_.content.size()) return;
    refuse(name_of(tensor_) + " has " + std::to_string(tensor_.content.size() - at_) + " bytes behind the " +
           std::to_string(count_) + " strings of shape " + shown_list(tensor_.shape) +
           ": send as many strings as the shape says");
  }

 private:
  [[noreturn]] void refuse_end() const {
    refuse(name_of(tensor_) + " ends within string " + std::to_string(taken_) + " of " + std::to_string(count_) +
           ": send each behind its length, of 4 bytes, little-endian");
  }

  const Tensor& tensor_;
  const int64_t count_;
  int64_t taken_ = 0;
  size_t at_ = 0;
};

// The names of ids and of what cuts them into users.
struct RowNames {
  std::string_view ids, lengths, offsets;
};

// Where each user's ids end, [B].
std::vector<int64_t> read_lengths(const Tensor& lengths, int64_t n_ids, const RowNames& names) {
  const int64_t n_users = list_size(lengths, "[B], a number for each user");
  const bool is_wide = check_integers(lengths, n_users, "INT64");
  std::vector<int64_t> ends(static_cast<size_t>(n_users));
  int64_t end = 0;
  for (int64_t b = 0; b < n_users; ++b) {
    const int64_t length = integer_at(lengths, is_wide, b);
    if (length < 0 || length > n_ids - end) {
      refuse(name_of(lengths) + "[" + std::to_string(b) + "] is " + std::to_string(length) + ", but " +
             std::to_string(n_ids - end) + " of the " + std::to_string(n_ids) + " " + std::string(names.ids) +
             " are left: give how many are each user's");
    }
    ends[static_cast<size_t>(b)] = end += length;
  }
  if (end != n_ids) {
    refuse(name_of(lengths) + " sum to " + std::to_string(end) + ", but there are " + std::to_string(n_ids) + " " +
           std::string(names.ids) + ": give how many are each user's");
  }
  return ends;
}

std::vector<int64_t> read_offsets(const Tensor& offsets, int64_t n_ids, const RowNames& names) {
  const int64_t count = list_size(offsets, "[B+1], from 0 to the number of ids");
  const bool is_wide = check_integers(offsets, count, "INT64");
  const std::string advice = ": give offsets from 0 to " + std::to_string(n_ids) + ", the number of " +
                             std::string(names.ids) + ", that do not fall";
  if (count == 0) refuse(name_of(offsets) + " is empty" + advice);
  std::vector<int64_t> ends(static_cast<size_t>(count - 1));
  int64_t last = 0;
  for (int64_t j = 0; j < count; ++j) {
    const int64_t offset = integer_at(offsets, is_wide, j);
    const bool is_wrong = j == 0 ? offset != 0 : offset < last || offset > n_ids || (j == count - 1 && offset != n_ids);
    if (is_wrong || (count == 1 && n_ids != 0)) {
      refuse(name_of(offsets) + "[" + std::to_string(j) + "] is " + std::to_string(offset) + advice);
    }
    if (j > 0) ends[static_cast<size_t>(j - 1)] = offset;
    last = offset;
  }
  return ends;
}

std::vector<int64_t> read_ends(const Inputs& inputs, int64_t n_ids, const RowNames& names) {
  const Tensor* const lengths = inputs.find(names.lengths);
  const Tensor* const offsets = inputs.find(names.offsets);
  if (lengths != nullptr && offsets != nullptr) {
    refuse(std::string(names.lengths) + " and " + std::string(names.offsets) + " are given: give one of them");
  }
  if (lengths != nullptr) return read_lengths(*lengths, n_ids, names);
  if (offsets != nullptr) return read_offsets(*offsets, n_ids, names);
  return {n_ids};
}

// Adds the ids of a tensor as rows that end at `ends`.
void read_ids(const Tensor& tensor, int64_t n_ids, const std::vector<int64_t>& ends, IdRows* rows) {
  int64_t begin = 0;
  if (has_type(tensor, DataType::kBytes)) {
    Strings strings(tensor, n_ids);
    for (const int64_t end : ends) {
      for (; begin < end; ++begin) rows->add(strings.next());
      rows->end_row();
    }
    strings.check_end();
    return;
  }
  const bool is_wide = check_integers(tensor, n_ids, "INT64, or BYTES for ids that are strings");
  for (const int64_t end : ends) {
    if (is_wide) {
      rows->add_integers(tensor.content.data() + begin * 8, end - begin);
      begin = end;
    } else {
      for (; begin < end; ++begin) rows->add(int64_t{number_at<int32_t>(tensor.content, begin)});
    }
    rows->end_row();
  }
}

constexpr char kIdsShape[] = "[N], all users' ids one after another";

void read_items(const Inputs& inputs, Question* question) {
  constexpr RowNames kNames = {"item_ids", "lengths", "offsets"};
  const Tensor* const ids = inputs.find(kNames.ids);
  if (ids == nullptr) refuse("input item_ids is missing: give the users' items, an empty list for one who has none");
  const int64_t n_ids = list_size(*ids, kIdsShape);
  read_ids(*ids, n_ids, read_ends(inputs, n_ids, kNames), &question->items);
}

void read_exclude(const Inputs& inputs, Question* question) {
  constexpr RowNames kNames = {"exclude_ids", "exclude_lengths", "exclude_offsets"};
  const Tensor* const ids = inputs.find(kNames.ids);
  if (ids == nullptr) {
    for (const std::string_view name : {kNames.lengths, kNames.offsets}) {
      if (inputs.find(name) != nullptr) refuse(std::string(name) + " is given without exclude_ids: give both or none");
    }
    return;
  }
  const int64_t n_ids = list_size(*ids, kIdsShape);
  const std::vector<int64_t> ends = read_ends(inputs, n_ids, kNames);
  const auto n_rows = static_cast<int64_t>(ends.size());
  if (n_rows != question->n_users()) {
    refuse("exclude_ids are of " + std::to_string(n_rows) + " users, item_ids of " +
           std::to_string(question->n_users()) + ": give exclude_lengths, a number for each user");
  }
  read_ids(*ids, n_ids, ends, &question->exclude.emplace());
}

void read_only(const Inputs& inputs, Question* question) {
  const Tensor* const ids = inputs.find("only_ids");
  if (ids == nullptr) return;
  const int64_t n_ids = list_size(*ids, "[L], the items to choose from for all users");
  read_ids(*ids, n_ids, {n_ids}, &question->only.emplace());
}

void read_states(const Inputs& inputs, int64_t state_size, Question* question) {
  const Tensor* const states = inputs.find("state_in");
  if (states == nullptr) return;
  if (!has_type(*states, DataType::kFp32)) refuse_type(*states, "FP32");
  const std::vector<int64_t> needed = {question->n_users(), state_size};
  if (states->shape != needed) {
    refuse("state_in has shape " + shown_list(states->shape) + ", but the states of " +
           std::to_string(question->n_users()) + " users of this model are " + shown_list(needed) +
           ": give state_out of their last answer");
  }
  const int64_t count = count_of(*states);
  check_bytes(*states, count, 4);
  question->states.resize(static_cast<size_t>(count));
  if (count > 0) std::memcpy(question->states.data(), states->content.data(), states->content.size());
}

void read_outputs(const std::vector<std::string_view>& outputs, Question* question) {
  std::array<bool, kOutputs.size()> found{};
  for (const std::string_view name : outputs) {
    const size_t place = place_of(name, kOutputs);
    if (place == kOutputs.size()) {
      refuse("output " + shown(name) + " is no tensor of this model: use " + listed(kOutputs));
    }
    if (found[place]) refuse("output " + std::string(name) + " is asked for twice: ask once");
    found[place] = true;
    question->wants_states |= name == "state_out";
  }
}

std::string shown_parameter(const Parameter& parameter) {
  if (const bool* given = std::get_if<bool>(&parameter)) return *given ? "true" : "false";
  if (const int64_t* given = std::get_if<int64_t>(&parameter)) return std::to_string(*given);
  if (const double* given = std::get_if<double>(&parameter)) return std::to_string(*given);
  return shown(std::get<std::string>(parameter));
}

template <typename Read>
void read_parameter(const Parameters& parameters, std::string_view name, const char* advice, const Read& read) {
  const auto found = parameters.find(name);
  if (found == parameters.end() || read(found->second)) return;
  refuse(std::string(name) + " is " + shown_parameter(found->second) + ": give " + advice);
}

// A state of another model has the same shape, and would be answered with other people's recommendations.
void check_model(const Parameters& parameters, const Bundle& bundle) {
  const auto found = parameters.find(kModelParameter);
  if (found == parameters.end()) return;
  const std::string* const given = std::get_if<std::string>(&found->second);
  if (given == nullptr)
    refuse("model is " + shown_parameter(found->second) + ": give a fingerprint, as answers name it");
  if (*given == bundle.fingerprint()) return;
  refuse("the model is " + std::string(bundle.fingerprint()) + ", not " + shown(*given) +
         ": a state is of one model only; feed the whole history");
}

void read_parameters(const Parameters& parameters, int64_t n_items, Question* question) {
  const std::string range = "a whole number from 1 to " + std::to_string(n_items);
  read_parameter(parameters, "k", range.c_str(), [question](const Parameter& given) {
    const int64_t* const k = std::get_if<int64_t>(&given);
    if (k != nullptr) question->k = *k;  // whose range the engine checks
    return k != nullptr;
  });
  read_parameter(parameters, "exclude_seen", "true or false", [question](const Parameter& given) {
    const bool* const exclude = std::get_if<bool>(&given);
    if (exclude != nullptr) question->exclude_seen = *exclude;
    return exclude != nullptr;
  });
  read_parameter(parameters, "timeout", "microseconds, 0 for the server's", [question](const Parameter& given) {
    const int64_t* const timeout = std::get_if<int64_t>(&given);
    if (timeout == nullptr || *timeout < 0) return false;
    if (*timeout > 0) question->timeout = static_cast<double>(*timeout) / 1e6;
    return true;
  });
  read_parameter(parameters, "timeout_ms", "milliseconds above 0", [question](const Parameter& given) {
    const int64_t* const whole = std::get_if<int64_t>(&given);
    const double* const number = std::get_if<double>(&given);
    if (whole == nullptr && number == nullptr) return false;
    const double timeout = whole == nullptr ? *number : static_cast<double>(*whole);
    if (!(timeout > 0) || !std::isfinite(timeout)) return false;
    question->timeout = timeout / 1e3;
    return true;
  });
}

}  // namespace

Expected<void> check_parameter_name(std::string_view name) {
  if (place_of(name, kParameterNames) < kParameterNames.size()) return {};
  for (const std::string_view begin : kForeignParameters) {
    if (name.substr(0, begin.size()) == begin) return {};
  }
  return Failure{Status::kInvalidArgument,
                 "parameter " + shown(name) + " is none of this model's: use " + listed(kParameterNames)};
}

Expected<void> read_question(const std::vector<Tensor>& tensors, const Parameters& parameters,
                             const std::vector<std::string_view>& outputs, const Bundle& bundle, Question* question) {
  question->clear();
  try {
    const Inputs inputs(tensors);
    check_model(parameters, bundle);
    read_items(inputs, question);
    read_states(inputs, bundle.state_size(), question);
    read_exclude(inputs, question);
    read_only(inputs, question);
    read_outputs(outputs, question);
    read_parameters(parameters, bundle.n_items(), question);
    return {};
  } catch (const Error& error) {
    return Failure{error.status(), error.what()};
  }
}

}  // namespace recblr::serving
