#include "server/v1/body_reader.h"

#include <array>
#include <boost/json/basic_parser_impl.hpp>
#include <limits>
#include <utility>

#include "server/answer/json_handler.h"
#include "serving/text.h"

namespace recblr::server {

namespace {

using boost::json::error_code;
using boost::json::string_view;

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr size_t kMostDigits = 100;    // of an id, as in the library
constexpr size_t kEnoughToShow = 256;  // bytes of a string that is refused

constexpr const char* kIdAdvice = "item ids are integers or strings";

// How many lists are around a field's ids or objects.
size_t depth_of(const Field& field) {
  if (std::holds_alternative<Field::Rows>(field.target)) return 2;
  return std::holds_alternative<Field::Row>(field.target) || std::holds_alternative<ObjectSink*>(field.target) ? 1 : 0;
}

IdSink* sink_of(const Field& field) {
  if (const auto* rows = std::get_if<Field::Rows>(&field.target)) return rows->sink;
  if (const auto* row = std::get_if<Field::Row>(&field.target)) return row->sink;
  if (const auto* one = std::get_if<Field::One>(&field.target)) return one->sink;
  return nullptr;
}

std::string names_of(const std::vector<Field>& fields) {
  std::string names;
  for (const Field& field : fields) {
    if (!names.empty()) names += ", ";
    names += field.name;
  }
  return names;
}

// Boost.JSON's parser calls these as it reads.
class Handler : public JsonHandler {
 public:
  explicit Handler(const std::vector<Field>& fields) : fields_(&fields) {}

  // Why it stopped; "" where that was not here.
  const std::string& problem() const { return problem_; }

  bool on_object_begin(error_code& ec) {
    if (!is_in_object_) return is_in_object_ = true;
    ObjectSink* objects = nullptr;
    if (const auto* target = field_ == nullptr ? nullptr : std::get_if<ObjectSink*>(&field_->target)) objects = *target;
    if (objects == nullptr || depth_ != 1) return refuse("an object", ec);
    outer_ = {fields_, field_, given_, places_[0]};
    objects->begin_object();
    enter(&objects->fields, nullptr, 0, 0);
    return true;
  }

  bool on_object_end(size_t, error_code& ec) {
    for (size_t j = 0; j < fields_->size(); ++j) {
      const Field& field = (*fields_)[j];
      if (field.is_required && (given_ >> j & 1) == 0) {
        return stop(prefix() + std::string(field.name) + " is missing: " + std::string(field.advice), ec);
      }
    }
    if (outer_.field == nullptr) return true;
    enter(outer_.fields, outer_.field, outer_.given, 1);
    places_[0] = outer_.place;
    outer_.field = nullptr;
    value_ended();
    return true;
  }

  bool on_array_begin(error_code& ec) {
    if (field_ == nullptr || depth_ == depth_of(*field_)) return refuse("a list", ec);
    if (depth_ == 0) begin_list();
    places_[depth_] = 0;
    ++depth_;
    return true;
  }

  bool on_array_end(size_t, error_code&) {
    --depth_;
    IdSink* sink = sink_of(*field_);
    if (sink != nullptr && depth_ == depth_of(*field_) - 1) sink->end_row();
    value_ended();
    return true;
  }

  bool on_key_part(string_view part, size_t, error_code& ec) {
    text_.append(part.data(), part.size());
    return text_.size() < kEnoughToShow || unknown_field(text_, ec);
  }

  bool on_key(string_view end, size_t, error_code& ec) {
    const std::string_view name = joined(end);
    for (size_t j = 0; j < fields_->size(); ++j) {
      const Field& field = (*fields_)[j];
      if (field.name != name) continue;
      if ((given_ >> j & 1) != 0) return stop(prefix() + std::string(name) + " is there twice: give it once", ec);
      given_ |= uint32_t{1} << j;
      field_ = &field;
      text_.clear();
      return true;
    }
    return unknown_field(name, ec);
  }

  bool on_string_part(string_view part, size_t, error_code& ec) {
    text_.append(part.data(), part.size());
    return takes_strings() || text_.size() < kEnoughToShow || refuse(serving::shown(text_), ec);
  }

  bool on_string(string_view end, size_t, error_code& ec) {
    const std::string_view text = joined(end);
    if (!takes_strings()) return refuse(serving::shown(text), ec);
    if (IdSink* sink = sink_of(*field_)) {
      if (depth_ == 0) sink->begin();
      sink->add(text);
    } else {
      *std::get<std::optional<std::string>*>(field_->target) = std::string(text);
    }
    text_.clear();
    value_ended();
    return true;
  }

  bool on_int64(int64_t number, string_view digits, error_code& ec) {
    if (IdSink* sink = sink_here()) {
      if (depth_ == 0) sink->begin();
      sink->add(number);
    } else if (std::optional<int64_t>* target = integer_here()) {
      *target = number;
    } else {
      return refuse(serving::shown_number(digits), ec);
    }
    value_ended();
    return true;
  }

  bool on_uint64(uint64_t number, string_view digits, error_code& ec) {
    if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return on_int64(static_cast<int64_t>(number), digits, ec);
    }
    return big_integer(digits, ec);
  }

  bool on_double(double, string_view digits, error_code& ec) {
    if (digits.find_first_of(".eE") != string_view::npos) return refuse(serving::shown_number(digits), ec);
    return big_integer(digits, ec);
  }

  bool on_bool(bool value, error_code& ec) {
    const auto* target = field_ == nullptr ? nullptr : std::get_if<bool*>(&field_->target);
    if (target == nullptr) return refuse(value ? "true" : "false", ec);
    **target = value;
    value_ended();
    return true;
  }

  bool on_null(error_code& ec) {
    if (field_ == nullptr || !field_->is_nullable || depth_ > 0) return refuse("null", ec);
    value_ended();
    return true;
  }

 private:
  struct Outer {
    const std::vector<Field>* fields = nullptr;
    const Field* field = nullptr;  // nullptr: the object being read is the body
    uint32_t given = 0;
    int64_t place = 0;
  };

  void enter(const std::vector<Field>* fields, const Field* field, uint32_t given, size_t depth) {
    fields_ = fields;
    field_ = field;
    given_ = given;
    depth_ = depth;
  }

  void begin_list() {
    if (IdSink* sink = sink_of(*field_)) {
      sink->begin();
    } else {
      std::get<ObjectSink*>(field_->target)->begin_list();
    }
  }

  void value_ended() {
    if (depth_ == 0) {
      field_ = nullptr;
    } else {
      ++places_[depth_ - 1];
    }
  }

  // Where an id goes that is read now; nullptr where none is wanted.
  IdSink* sink_here() const { return field_ != nullptr && depth_ == depth_of(*field_) ? sink_of(*field_) : nullptr; }

  std::optional<int64_t>* integer_here() const {
    const auto* target = field_ == nullptr ? nullptr : std::get_if<std::optional<int64_t>*>(&field_->target);
    return target == nullptr ? nullptr : *target;
  }

  bool takes_strings() const {
    return sink_here() != nullptr ||
           (field_ != nullptr && std::holds_alternative<std::optional<std::string>*>(field_->target));
  }

  bool big_integer(string_view digits, error_code& ec) {
    if (IdSink* sink = sink_here()) {
      if (digits.size() > kMostDigits + (digits[0] == '-')) {
        return stop(path() + " is a number of more than 100 digits: give a smaller one", ec);
      }
      if (depth_ == 0) sink->begin();
      sink->add_big_integer({digits.data(), digits.size()});
      value_ended();
      return true;
    }
    if (integer_here() == nullptr) return refuse(serving::shown_number(digits), ec);
    return stop(path() + " is " + serving::shown_number(digits) + ": give a whole number of at most 64 bits", ec);
  }

  // Of the fields of the object being read: "" or "events[2].".
  std::string prefix() const {
    if (outer_.field == nullptr) return "";
    return std::string(outer_.field->name) + "[" + std::to_string(outer_.place) + "].";
  }

  std::string path() const {
    if (field_ == nullptr) return "the body";
    std::string path = prefix() + std::string(field_->name);
    for (size_t d = 0; d < depth_; ++d) path += "[" + std::to_string(places_[d]) + "]";
    return path;
  }

  // What is wanted where it reads.
  std::string advice() const {
    if (field_ == nullptr) return "give a JSON object with " + names_of(*fields_);
    if (depth_ == 0) return std::string(field_->advice);
    if (const auto* objects = std::get_if<ObjectSink*>(&field_->target)) {
      return "give an object with " + names_of((*objects)->fields);
    }
    return depth_ == depth_of(*field_) ? kIdAdvice : "give a list of item ids";
  }

  bool unknown_field(std::string_view name, error_code& ec) {
    const bool is_plain = name.size() <= 60 && name.find_first_not_of(
                                                   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"
                                                   "XYZ0123456789_-") == std::string_view::npos;
    return stop(prefix() + (is_plain && !name.empty() ? std::string(name) : serving::shown(name)) +
                    " is no field of a request: use " + names_of(*fields_),
                ec);
  }

  bool refuse(const std::string& shown, error_code& ec) { return stop(path() + " is " + shown + ": " + advice(), ec); }

  bool stop(std::string problem, error_code& ec) {
    problem_ = std::move(problem);
    ec = boost::system::errc::make_error_code(boost::system::errc::invalid_argument);
    return false;
  }

  const std::vector<Field>* fields_;  // of the object being read
  const Field* field_ = nullptr;      // whose value is read; nullptr between two of them
  uint32_t given_ = 0;                // a bit for each field that was there
  size_t depth_ = 0;                  // lists around what is read, within the field
  std::array<int64_t, 2> places_{};   // in each of them
  Outer outer_;                       // of an object in a list of them
  bool is_in_object_ = false;
  std::string problem_;
};

}  // namespace

Expected<void> read_body(std::string_view body, const std::vector<Field>& fields) {
  const size_t skipped = body.substr(0, kByteOrderMark.size()) == kByteOrderMark ? kByteOrderMark.size() : 0;
  body.remove_prefix(skipped);
  boost::json::basic_parser<Handler> parser(boost::json::parse_options(), fields);
  error_code ec;
  const size_t read = parser.write_some(false, body.data(), body.size(), ec);
  if (!ec && read < body.size()) ec = boost::json::error::extra_data;
  if (!ec) return {};
  if (const std::string& problem = parser.handler().problem(); !problem.empty()) {
    return Failure{Status::kInvalidArgument, problem};
  }
  return Failure{Status::kInvalidArgument,
                 "the body is no JSON (" + ec.message() + " at byte " + std::to_string(skipped + read) + ")"};
}

}  // namespace recblr::server
