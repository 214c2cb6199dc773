#include "server/oip/infer_request.h"

#include <boost/json.hpp>
#include <charconv>
#include <cstring>
#include <deque>
#include <utility>

#include "serving/tensors.h"
#include "serving/text.h"

namespace recblr::server {
namespace {

namespace json = boost::json;
using serving::shown;

constexpr size_t kMostIdBytes = 1024;  // of a request's id, which is sent back

[[noreturn]] void refuse(const std::string& message) { throw Error({Status::kInvalidArgument, message}); }

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

// A value in a message.
std::string shown_json(const json::value& value) {
  switch (value.kind()) {
    case json::kind::object:
      return "an object";
    case json::kind::array:
      return "a list";
    case json::kind::string:
      return shown(view(value.get_string()));
    default:
      return json::serialize(value);
  }
}

// A field of an object; nullptr where it is not there. `where` names the object.
const json::value* find(const json::object& object, std::string_view name) {
  return object.if_contains(json::string_view(name.data(), name.size()));
}

const json::object* find_object(const json::object& object, const char* name, const std::string& where) {
  const json::value* const found = find(object, name);
  if (found == nullptr) return nullptr;
  if (!found->is_object()) refuse(where + name + " is " + shown_json(*found) + ": give an object");
  return &found->get_object();
}

std::string_view string_field(const json::object& object, const char* name, const std::string& where) {
  const json::value* const found = find(object, name);
  if (found == nullptr) refuse(where + name + " is missing: give a string");
  if (!found->is_string()) refuse(where + name + " is " + shown_json(*found) + ": give a string");
  return view(found->get_string());
}

std::optional<bool> flag(const json::object* parameters, const char* name, const std::string& where) {
  const json::value* const found = parameters == nullptr ? nullptr : find(*parameters, name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_bool()) refuse(where + name + " is " + shown_json(*found) + ": give true or false");
  return found->get_bool();
}

// How much of the body is JSON.
size_t read_json_size(std::optional<std::string_view> header, size_t body_size) {
  if (!header) return body_size;
  size_t size = 0;
  const auto [end, error] = std::from_chars(header->data(), header->data() + header->size(), size);
  if (error != std::errc() || end != header->data() + header->size() || size == 0 || size > body_size) {
    refuse("Inference-Header-Content-Length is " + shown(*header) +
           ": give the size of the JSON in bytes, at most the " + std::to_string(body_size) + " of the body");
  }
  return size;
}

template <typename Number>
void append(Number number, std::string* content) {
  char bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  content->append(bytes, sizeof bytes);
}

// Turns the JSON data of a tensor into bytes.
class DataReader {
 public:
  DataReader(std::string_view name, std::string_view datatype, std::string* content) : name_(name), content_(content) {
    if (datatype == "INT64") append_ = &DataReader::append_int64;
    if (datatype == "INT32") append_ = &DataReader::append_int32;
    if (datatype == "FP32") append_ = &DataReader::append_float;
    if (datatype == "BYTES") append_ = &DataReader::append_string;
  }

  // Lists in lists are one list.
  void read(const json::array& data) {
    if (append_ == nullptr) return;  // no tensor of the model's: it is refused for its type
    for (const json::value& value : data) {
      if (value.is_array()) {
        read(value.get_array());
      } else {
        (this->*append_)(value);
        ++count_;
      }
    }
  }

 private:
  [[noreturn]] void refuse_value(const json::value& value, const char* advice) const {
    refuse("value " + std::to_string(count_) + " of " + shown(name_) + " is " + shown_json(value) + ": give " + advice);
  }
  int64_t integer(const json::value& value) const {
    if (!value.is_int64()) refuse_value(value, "whole numbers of 64 bits");
    return value.get_int64();
  }
  void append_int64(const json::value& value) { append(integer(value), content_); }
  void append_int32(const json::value& value) {
    const int64_t number = integer(value);
    if (number != static_cast<int32_t>(number)) refuse_value(value, "numbers of 32 bits, or INT64");
    append(static_cast<int32_t>(number), content_);
  }
  void append_float(const json::value& value) {
    if (!value.is_number()) refuse_value(value, "numbers");
    append(static_cast<float>(value.is_double()   ? value.get_double()
                              : value.is_uint64() ? static_cast<double>(value.get_uint64())
                                                  : static_cast<double>(value.get_int64())),
           content_);
  }
  void append_string(const json::value& value) {
    if (!value.is_string()) refuse_value(value, "strings");
    append(static_cast<uint32_t>(value.get_string().size()), content_);
    *content_ += view(value.get_string());
  }

  const std::string_view name_;
  std::string* const content_;
  void (DataReader::*append_)(const json::value&) = nullptr;
  int64_t count_ = 0;
};

// The inputs, views of the JSON, of the bytes behind it, and of what was made of data in JSON.
class Inputs {
 public:
  Inputs(const json::array& inputs, std::string_view bytes) : bytes_(bytes) {
    tensors_.reserve(inputs.size());
    for (const json::value& input : inputs) {
      const std::string where = "inputs[" + std::to_string(tensors_.size()) + "]";
      if (!input.is_object()) refuse(where + " is " + shown_json(input) + ": give an object");
      read(input.get_object(), where + ".");
    }
    if (!bytes_.empty()) {
      refuse(std::to_string(bytes_.size()) +
             " bytes are left behind the tensors: give each input in bytes its binary_data_size");
    }
  }
  const std::vector<serving::Tensor>& tensors() const { return tensors_; }

 private:
  void read(const json::object& input, const std::string& where) {
    serving::Tensor tensor;
    tensor.name = string_field(input, "name", where);
    tensor.datatype = string_field(input, "datatype", where);
    read_shape(input, where, &tensor.shape);
    const json::object* const parameters = find_object(input, "parameters", where);
    const json::value* const size = parameters == nullptr ? nullptr : find(*parameters, "binary_data_size");
    const json::value* const data = find(input, "data");
    if (size != nullptr && data != nullptr) refuse(where + "data and binary_data_size are given: give one of them");
    if (size != nullptr) {
      tensor.content = take_bytes(*size, where);
    } else if (data != nullptr && data->is_array()) {
      contents_.emplace_back();
      DataReader(tensor.name, tensor.datatype, &contents_.back()).read(data->get_array());
      tensor.content = contents_.back();
    } else {
      refuse(where + "data is " + (data == nullptr ? "missing" : shown_json(*data)) +
             ": give a list, or bytes behind the JSON with the parameter binary_data_size");
    }
    tensors_.push_back(std::move(tensor));
  }

  static void read_shape(const json::object& input, const std::string& where, std::vector<int64_t>* shape) {
    const json::value* const found = find(input, "shape");
    if (found == nullptr) refuse(where + "shape is missing: give a list of whole numbers");
    if (!found->is_array()) refuse(where + "shape is " + shown_json(*found) + ": give a list of whole numbers");
    for (const json::value& size : found->get_array()) {
      if (!size.is_int64()) refuse(where + "shape has " + shown_json(size) + ": give whole numbers");
      shape->push_back(size.get_int64());
    }
  }

  std::string_view take_bytes(const json::value& size, const std::string& where) {
    if (!size.is_int64() || size.get_int64() < 0 || static_cast<uint64_t>(size.get_int64()) > bytes_.size()) {
      refuse(where + "parameters.binary_data_size is " + shown_json(size) + ", but " + std::to_string(bytes_.size()) +
             " bytes are left behind the JSON: give the size of the tensor's");
    }
    const std::string_view taken = bytes_.substr(0, static_cast<size_t>(size.get_int64()));
    bytes_.remove_prefix(taken.size());
    return taken;
  }

  std::string_view bytes_;  // those not taken yet
  std::vector<serving::Tensor> tensors_;
  std::deque<std::string> contents_;
};

serving::Parameters read_parameters(const json::object* object) {
  serving::Parameters parameters;
  if (object == nullptr) return parameters;
  for (const auto& [key, value] : *object) {
    serving::Parameter& parameter = parameters[std::string(key.data(), key.size())];
    if (value.is_bool()) {
      parameter = value.get_bool();
    } else if (value.is_int64()) {
      parameter = value.get_int64();
    } else if (value.is_number()) {
      parameter = value.to_number<double>();
    } else {
      parameter = value.is_string() ? std::string(view(value.get_string())) : shown_json(value);
    }
  }
  return parameters;
}

void read_outputs(const json::object& request, WantedAnswer* wanted) {
  const json::value* const outputs = find(request, "outputs");
  if (outputs == nullptr) return;
  if (!outputs->is_array()) refuse("outputs is " + shown_json(*outputs) + ": give a list of objects");
  for (const json::value& output : outputs->get_array()) {
    const std::string element = "outputs[" + std::to_string(wanted->outputs.size()) + "]", where = element + ".";
    if (!output.is_object()) refuse(element + " is " + shown_json(output) + ": give an object");
    const json::object* const parameters = find_object(output.get_object(), "parameters", where);
    const std::string_view name = string_field(output.get_object(), "name", where);
    if (parameters != nullptr && find(*parameters, "classification") != nullptr) {
      refuse(where + "parameters.classification cannot be given: this model's outputs are rankings already");
    }
    wanted->outputs.push_back(
        {std::string(name), flag(parameters, "binary_data", where + "parameters.").value_or(wanted->is_binary)});
  }
}

void read_request(std::string_view text, std::string_view bytes, const Bundle& bundle, serving::Question* question,
                  WantedAnswer* wanted) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);  // a byte order mark
  unsigned char memory[4096];
  json::monotonic_resource resource(memory, sizeof memory);
  json::error_code error;
  const json::value value = json::parse(json::string_view(text.data(), text.size()), error, &resource);
  if (error) refuse("the body is no JSON (" + error.message() + "): give an object with inputs");
  if (!value.is_object()) refuse("the body is " + shown_json(value) + ": give an object with inputs");
  const json::object& request = value.get_object();
  if (find(request, "id") != nullptr) wanted->id = string_field(request, "id", "");
  if (wanted->id.size() > kMostIdBytes) {
    const size_t size = wanted->id.size();
    wanted->id.clear();
    refuse("id has " + std::to_string(size) + " bytes: give at most " + std::to_string(kMostIdBytes));
  }
  const json::object* const parameters = find_object(request, "parameters", "");
  wanted->is_binary = flag(parameters, "binary_data_output", "parameters.").value_or(false);
  read_outputs(request, wanted);
  const json::value* const inputs = find(request, "inputs");
  if (inputs == nullptr) refuse("inputs is missing: give a list of tensors");
  if (!inputs->is_array()) refuse("inputs is " + shown_json(*inputs) + ": give a list of tensors");
  const Inputs tensors(inputs->get_array(), bytes);
  std::vector<std::string_view> outputs;
  for (const WantedAnswer::Output& output : wanted->outputs) outputs.push_back(output.name);
  const Expected<void> read =
      serving::read_question(tensors.tensors(), read_parameters(parameters), outputs, bundle, question);
  if (!read) throw Error(read.error());
}

}  // namespace

Expected<void> read_infer_request(std::string_view body, std::optional<std::string_view> json_size,
                                  const Bundle& bundle, serving::Question* question, WantedAnswer* wanted) {
  *wanted = {};
  try {
    const size_t size = read_json_size(json_size, body.size());
    read_request(body.substr(0, size), body.substr(size), bundle, question, wanted);
    return {};
  } catch (const Error& error) {
    return Failure{error.status(), error.what()};
  }
}

}  // namespace recblr::server
