#include "server/oip/infer_json.h"

#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <limits>
#include <utility>

#include "recblr/recblr.hpp"
#include "server/answer/json_handler.h"
#include "serving/limits.h"
#include "serving/text.h"

namespace recblr::server {
namespace {

using boost::json::error_code;
using boost::json::string_view;
using serving::grouped;

constexpr size_t kMostTensors = 64, kMostDimensions = 16;  // more than any model has
constexpr size_t kMostShown = 60;                          // bytes of a key: more than any has

[[noreturn]] void refuse(const std::string& message) { throw Error({Status::kInvalidArgument, message}); }

// Where the parser is: in an object, or a list, of that name. Whatever is in what is ignored is ignored, too.
enum class Place {
  kBody,
  kRequest,
  kParameters,
  kInputs,
  kInput,
  kInputParameters,
  kShape,
  kData,
  kOutputs,
  kOutput,
  kOutputParameters,
  kIgnored
};

struct Key {
  std::string_view name;
  const char* advice;  // "give a string"
};
constexpr int kUnknown = -1;
constexpr const char *kGiveString = "give a string", *kGiveObject = "give an object";
enum RequestKey { kId, kRequestParameters, kRequestInputs, kRequestOutputs };
constexpr std::array<Key, 4> kRequestKeys = {{{"id", kGiveString},
                                              {"parameters", kGiveObject},
                                              {"inputs", "give a list of tensors"},
                                              {"outputs", "give a list of objects"}}};
enum InputKey { kName, kDatatype, kShapeKey, kDataKey, kInputParametersKey };
constexpr const char* kDataAdvice = "give a list, or bytes behind the JSON with the parameter binary_data_size";
constexpr std::array<Key, 5> kInputKeys = {{{"name", kGiveString},
                                            {"datatype", kGiveString},
                                            {"shape", "give a list of whole numbers"},
                                            {"data", kDataAdvice},
                                            {"parameters", kGiveObject}}};
enum OutputKey { kOutputName, kOutputParametersKey };
constexpr std::array<Key, 2> kOutputKeys = {{{"name", kGiveString}, {"parameters", kGiveObject}}};
constexpr const char* kBoolAdvice = "give true or false";
constexpr int kBinaryDataOutput = static_cast<int>(serving::kParameterNames.size());
constexpr auto kParameterKeys = [] {
  std::array<Key, serving::kParameterNames.size() + 1> keys{};
  for (size_t j = 0; j < serving::kParameterNames.size(); ++j) keys[j] = {serving::kParameterNames[j], ""};
  keys.back() = {"binary_data_output", kBoolAdvice};
  return keys;
}();
constexpr std::array<Key, 1> kInputParameterKeys = {{{"binary_data_size", "give the size of the tensor's bytes"}}};
enum OutputParameterKey { kBinaryData, kClassification };
constexpr std::array<Key, 2> kOutputParameterKeys = {{{"binary_data", kBoolAdvice}, {"classification", ""}}};

struct Keys {
  const Key* begin = nullptr;
  int size = 0;
};
Keys keys_of(Place place) {
  const auto of = [](const auto& keys) { return Keys{keys.data(), static_cast<int>(keys.size())}; };
  switch (place) {
    case Place::kRequest:
      return of(kRequestKeys);
    case Place::kParameters:
      return of(kParameterKeys);
    case Place::kInput:
      return of(kInputKeys);
    case Place::kInputParameters:
      return of(kInputParameterKeys);
    case Place::kOutput:
      return of(kOutputKeys);
    case Place::kOutputParameters:
      return of(kOutputParameterKeys);
    default:
      return {};
  }
}

// Boost.JSON's parser calls these as it reads.
class Handler : public JsonHandler {
 public:
  explicit Handler(int64_t most_values) : most_values_(most_values) {}

  InferJson take() {
    if (!has_inputs_) refuse("inputs is missing: give a list of tensors");
    return std::move(read_);
  }

  bool on_object_begin(error_code&) {
    enter(object_place(), false);
    return true;
  }
  bool on_array_begin(error_code&) {
    enter(list_place(), true);
    return true;
  }
  bool on_object_end(size_t, error_code&) {
    if (here().place == Place::kInput) end_input();
    if (here().place == Place::kOutput && !is_given(kOutputName)) refuse(path() + "name is missing: give a string");
    levels_.pop_back();
    return true;
  }
  bool on_array_end(size_t, error_code&) {
    levels_.pop_back();
    return true;
  }

  bool on_key_part(string_view part, size_t, error_code&) {
    if (text_.size() < kMostShown) text_.append(part.data(), part.size());
    return true;
  }
  bool on_key(string_view end, size_t, error_code&) {
    const std::string_view name = joined(end);
    Level& level = here();
    const Keys keys = keys_of(level.place);
    level.key = kUnknown;
    for (int j = 0; j < keys.size; ++j) {
      if (keys.begin[j].name == name) level.key = j;
    }
    if (level.key == kUnknown && level.place == Place::kParameters) {
      if (const Expected<void> checked = serving::check_parameter_name(name); !checked) throw Error(checked.error());
    }
    text_.clear();
    if (level.key == kUnknown) return true;
    if (is_given(level.key)) refuse(path() + std::string(keys.begin[level.key].name) + " is there twice: give it once");
    level.given |= 1U << level.key;
    if (level.place == Place::kOutputParameters && level.key == kClassification) {
      refuse(path() + "classification cannot be given: this model's outputs are rankings already");
    }
    return true;
  }

  bool on_string_part(string_view part, size_t, error_code&) {
    if (here().place != Place::kIgnored && !is_unknown()) text_.append(part.data(), part.size());
    return true;
  }
  bool on_string(string_view end, size_t, error_code&) {
    if (here().place == Place::kIgnored || is_unknown()) return true;
    const std::string_view text = joined(end);
    if (here().place == Place::kData) {
      input().data.add(text);
    } else if (std::string* const wanted = string_here()) {
      *wanted = text;
      if (wanted == &read_.id) check_id();
    } else if (here().place == Place::kParameters && here().key != kBinaryDataOutput) {
      parameter() = std::string(text);
    } else {
      refuse_value(serving::shown(text));
    }
    text_.clear();
    return true;
  }

  bool on_int64(int64_t number, string_view digits, error_code&) {
    const Level& level = here();
    if (level.place == Place::kData) {
      input().data.add(number);
    } else if (level.place == Place::kShape) {
      if (input().shape.size() == kMostDimensions) refuse(path() + "shape has more sizes than a tensor of this model");
      input().shape.push_back(number);
    } else if (level.place == Place::kInputParameters && level.key == 0) {
      input().binary_data_size = number;
    } else if (level.place == Place::kParameters && level.key != kUnknown && level.key != kBinaryDataOutput) {
      parameter() = number;
    } else {
      other_value(serving::shown_number(digits));
    }
    return true;
  }
  bool on_uint64(uint64_t number, string_view digits, error_code& ec) {
    if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return on_int64(static_cast<int64_t>(number), digits, ec);
    }
    return on_double(static_cast<double>(number), digits, ec);
  }
  bool on_double(double number, string_view digits, error_code&) {
    const Level& level = here();
    if (level.place == Place::kData) {
      input().data.add(number, {digits.data(), digits.size()});
    } else if (level.place == Place::kParameters && level.key != kUnknown && level.key != kBinaryDataOutput) {
      parameter() = number;
    } else {
      other_value(serving::shown_number(digits));
    }
    return true;
  }
  bool on_bool(bool flag, error_code&) {
    const Level& level = here();
    if (level.place == Place::kParameters && level.key != kUnknown) {
      if (level.key == kBinaryDataOutput) {
        read_.binary_data_output = flag;
      } else {
        parameter() = flag;
      }
    } else if (level.place == Place::kOutputParameters && level.key == kBinaryData) {
      read_.outputs.back().binary_data = flag;
    } else {
      other_value(flag ? "true" : "false");
    }
    return true;
  }
  bool on_null(error_code&) {
    other_value("null");
    return true;
  }

 private:
  struct Level {
    Place place;
    int key = kUnknown;  // of an object: whose value is read
    uint32_t given = 0;  // a bit for each key that was there
  };

  Level& here() { return levels_.back(); }
  bool is_given(int key) { return (here().given >> key & 1U) != 0; }
  InferJson::Input& input() { return read_.inputs.back(); }

  // Whether what is read is the value of a key that means nothing here.
  bool is_unknown() { return keys_of(here().place).begin != nullptr && here().key == kUnknown; }

  serving::Parameter& parameter() {
    return read_.parameters[std::string(kParameterKeys[static_cast<size_t>(here().key)].name)];
  }

  std::string* string_here() {
    const Level& level = here();
    if (level.place == Place::kRequest && level.key == kId) return &read_.id;
    if (level.place == Place::kInput && level.key == kName) return &input().name;
    if (level.place == Place::kInput && level.key == kDatatype) return &input().datatype;
    if (level.place == Place::kOutput && level.key == kOutputName) return &read_.outputs.back().name;
    return nullptr;
  }

  void check_id() {
    const Expected<void> checked = serving::check_request_id(read_.id);
    if (!checked) throw Error(checked.error());
  }

  // An object or list begins.
  void enter(Place place, bool is_list) {
    if (place == Place::kIgnored && here().place != Place::kIgnored && !is_unknown()) {
      other_value(is_list ? "a list" : "an object");
    }
    levels_.push_back({place});
  }

  Place object_place() {
    const Level level = here();
    if (level.place == Place::kBody) return Place::kRequest;
    if (level.place == Place::kRequest && level.key == kRequestParameters) return Place::kParameters;
    if (level.place == Place::kInput && level.key == kInputParametersKey) return Place::kInputParameters;
    if (level.place == Place::kOutput && level.key == kOutputParametersKey) return Place::kOutputParameters;
    if (level.place == Place::kInputs) {
      if (read_.inputs.size() == kMostTensors) refuse("inputs has more tensors than this model: give each once");
      read_.inputs.emplace_back(most_values_);
      return Place::kInput;
    }
    if (level.place == Place::kOutputs) {
      if (read_.outputs.size() == kMostTensors) refuse("outputs has more tensors than this model: name each once");
      read_.outputs.emplace_back();
      return Place::kOutput;
    }
    return Place::kIgnored;
  }

  Place list_place() {
    const Level level = here();
    if (level.place == Place::kRequest && level.key == kRequestInputs) {
      has_inputs_ = true;
      return Place::kInputs;
    }
    if (level.place == Place::kRequest && level.key == kRequestOutputs) return Place::kOutputs;
    if (level.place == Place::kInput && level.key == kShapeKey) return Place::kShape;
    if (level.place == Place::kInput && level.key == kDataKey) return Place::kData;
    return level.place == Place::kData ? Place::kData : Place::kIgnored;  // lists in lists are one list
  }

  // A value that is not what is wanted where it reads; `shown` as messages call it.
  void other_value(const std::string& shown) {
    const Level& level = here();
    if (level.place == Place::kIgnored || is_unknown()) return;
    if (level.place == Place::kData) return input().data.add_other(shown);
    if (level.place == Place::kParameters && level.key != kBinaryDataOutput) {
      parameter() = shown;
      return;
    }
    refuse_value(shown);
  }

  [[noreturn]] void refuse_value(const std::string& shown) {
    const Level& level = here();
    if (level.place == Place::kBody) refuse("the body is " + shown + ": give an object with inputs");
    if (level.place == Place::kShape) refuse(path() + "shape has " + shown + ": give whole numbers");
    if (level.place == Place::kInputs || level.place == Place::kOutputs) {
      const bool is_input = level.place == Place::kInputs;
      refuse(element(is_input ? "inputs" : "outputs", is_input ? read_.inputs.size() : read_.outputs.size()) + " is " +
             shown + ": give an object");
    }
    const Key& key = keys_of(level.place).begin[level.key];
    refuse(path() + std::string(key.name) + " is " + shown + ": " + key.advice);
  }

  static std::string element(const char* list, size_t place) {
    return std::string(list) + "[" + grouped(static_cast<int64_t>(place)) + "]";
  }

  // What is before the name of a field of the object that is read, such as "inputs[1].parameters.".
  std::string path() {
    switch (here().place) {
      case Place::kParameters:
        return "parameters.";
      case Place::kInput:
      case Place::kShape:
        return element("inputs", read_.inputs.size() - 1) + ".";
      case Place::kInputParameters:
        return element("inputs", read_.inputs.size() - 1) + ".parameters.";
      case Place::kOutput:
        return element("outputs", read_.outputs.size() - 1) + ".";
      case Place::kOutputParameters:
        return element("outputs", read_.outputs.size() - 1) + ".parameters.";
      default:
        return "";
    }
  }

  void end_input() {
    for (const InputKey key : {kName, kDatatype, kShapeKey}) {
      if (is_given(key)) continue;
      const Key& missing = kInputKeys[key];
      refuse(path() + std::string(missing.name) + " is missing: " + missing.advice);
    }
    const InferJson::Input& read = input();
    const bool has_data = is_given(kDataKey);  // a list: all else was refused
    if (has_data && read.binary_data_size) {
      refuse(path() + "data and binary_data_size are given: give one of them");
    }
    if (!has_data && !read.binary_data_size) refuse(path() + "data is missing: " + kDataAdvice);
    if (read.data.size() > most_values_) {
      refuse(path() + "data has " + grouped(read.data.size()) + " values, the limit is " + grouped(most_values_) +
             ": send fewer at once");
    }
  }

  const int64_t most_values_;
  InferJson read_;
  bool has_inputs_ = false;
  std::vector<Level> levels_ = {{Place::kBody}};
};

}  // namespace

InferJson read_infer_json(std::string_view text, int64_t most_values) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);  // a byte order mark
  boost::json::basic_parser<Handler> parser(boost::json::parse_options(), most_values);
  error_code error;
  const size_t read = parser.write_some(false, text.data(), text.size(), error);
  if (!error && read < text.size()) error = boost::json::error::extra_data;
  if (error) refuse("the body is no JSON (" + error.message() + "): give an object with inputs");
  return parser.handler().take();
}

}  // namespace recblr::server
