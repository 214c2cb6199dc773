// Reads a request's JSON without a tree of it: each value goes to where it is wanted as it comes by.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "recblr/recblr.hpp"

namespace recblr::server {

// Where ids go.
class IdSink {
 public:
  virtual ~IdSink() = default;
  virtual void begin() {}  // the field is there, and not null
  virtual void add(int64_t id) = 0;
  virtual void add(std::string_view id) = 0;
  virtual void add_big_integer(std::string_view decimal) = 0;  // beyond 64 bits
  virtual void end_row() {}
};

struct ObjectSink;

// A field of an object. Names and advice are static.
struct Field {
  struct Rows {  // [[id, ...], ...]
    IdSink* sink;
  };
  struct Row {  // [id, ...]
    IdSink* sink;
  };
  struct One {  // id
    IdSink* sink;
  };
  using Target = std::variant<Rows, Row, One, std::optional<int64_t>*, bool*, std::optional<std::string>*, ObjectSink*>;

  std::string_view name;
  Target target;
  std::string_view advice;  // what to give, in the message where it is missing or of another type
  bool is_required = false;
  bool is_nullable = false;
};

// A list of objects.
struct ObjectSink {
  std::vector<Field> fields;           // of each; they have no lists of objects themselves
  std::function<void()> begin_object;  // one of them begins
  std::function<void()> begin_list = [] {};
};

// Fails with kInvalidArgument and one line that names the place and the value. Strict: no other types than asked for,
// so that neither true nor 1.0 is an id, no unknown field, none twice. A byte order mark at the beginning is skipped.
Expected<void> read_body(std::string_view body, const std::vector<Field>& fields);

}  // namespace recblr::server
