#include "server/options/config_file.h"

#include <toml++/toml.h>

#include "server/options/file_content.h"
#include "server/options/names.h"

namespace recblr::server {
namespace {

const char* name_of(toml::node_type type) {
  switch (type) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number with a fraction";
    case toml::node_type::boolean:
      return "a boolean";
    default:
      return "a date or time";
  }
}

bool takes(Kind kind, toml::node_type type) {
  switch (kind) {
    case Kind::kWhole:
      return type == toml::node_type::integer;
    case Kind::kNumber:
      return type == toml::node_type::integer || type == toml::node_type::floating_point;
    case Kind::kBytes:
      return type == toml::node_type::integer || type == toml::node_type::string;
    case Kind::kText:
      return type == toml::node_type::string;
    case Kind::kSwitch:
      return type == toml::node_type::boolean;
  }
  return false;
}

// The value as text, as a flag would have it.
std::string text_of(const toml::node& node, const Option& option, const std::string& origin) {
  if (!takes(option.kind, node.type())) {
    throw UsageError(origin + " is " + name_of(node.type()) + ": give " + option.expects +
                     (option.kind == Kind::kText ? ", in quotes" : ""));
  }
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* whole = node.as_integer()) return std::to_string(whole->get());
  if (const auto* number = node.as_floating_point()) return server::text_of(number->get());
  return node.as_boolean()->get() ? "true" : "false";
}

}  // namespace

void read_config_file(const std::string& path, std::vector<Option>* list) {
  const std::string content = file_content(path, "--config");
  toml::table table;
  try {
    table = toml::parse(content, path);
  } catch (const toml::parse_error& error) {
    throw UsageError(path + ", line " + std::to_string(error.source().begin.line) +
                     " is not TOML: " + std::string(error.description()));
  }
  for (const auto& [key, node] : table) {
    const std::string line = path + ", line " + std::to_string(key.source().begin.line);
    const std::string name(key.str());
    Option* option = find_option(name, list);
    if (option == nullptr) {
      const std::string near = nearest_name(name, *list);
      throw UsageError(line + ": there is no option " + quote(name) + ": " +
                       (near.empty() ? "" : "did you mean " + near + "? ") +
                       "the keys are the options of recblr-serve --help without --");
    }
    const std::string origin = line + ": " + name;
    std::vector<std::string> values;
    if (const toml::array* array = node.as_array(); array != nullptr && option->many()) {
      for (const toml::node& value : *array) values.push_back(text_of(value, *option, origin));
    } else {
      values.push_back(text_of(node, *option, origin));
    }
    option->set(values, origin);
    option->source = line;
  }
}

}  // namespace recblr::server
