#include "server/options/environment.h"

#include <unistd.h>

#include <initializer_list>
#include <sstream>
#include <string_view>

#include "server/http/text.h"
#include "server/options/names.h"

namespace recblr::server {
namespace {

const std::string kPrefix = "RECBLR_SERVE_";

std::string variable_of(const std::string& name) {
  std::string variable = kPrefix;
  for (const char c : name) variable += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return variable;
}

std::string name_of(const std::string& variable) {
  std::string name = variable.substr(kPrefix.size());
  for (char& c : name) c = c == '_' ? '-' : static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return name;
}

bool begins_with_one_of(std::string_view text, std::initializer_list<std::string_view> beginnings) {
  for (const std::string_view beginning : beginnings) {
    if (text.substr(0, beginning.size()) == beginning) return true;
  }
  return false;
}

// RECBLR_SERVE_PORT=tcp://10.0.0.1:8000, RECBLR_SERVE_SERVICE_HOST, RECBLR_SERVE_SERVICE_PORT_HTTP,
// RECBLR_SERVE_PORT_8000_TCP_ADDR, and the same of a service like recblr-serve-eu.
bool is_of_kubernetes(std::string_view variable, std::string_view value) {
  constexpr std::string_view kPort = "_PORT_";
  if (ends_with(variable, "_PORT")) {
    return ends_with(variable, "_SERVICE_PORT") || begins_with_one_of(value, {"tcp://", "udp://", "sctp://"});
  }
  if (ends_with(variable, "_SERVICE_HOST") || variable.find("_SERVICE_PORT_") != std::string_view::npos) return true;
  for (size_t at = variable.find(kPort); at != std::string_view::npos; at = variable.find(kPort, at + 1)) {
    const std::string_view number = variable.substr(at + kPort.size());
    const size_t end = number.find_first_not_of("0123456789");
    if (end == 0 || end == std::string_view::npos) continue;
    if (begins_with_one_of(number.substr(end), {"_TCP", "_UDP", "_SCTP"})) return true;
  }
  return false;
}

}  // namespace

Environment::Environment(const std::vector<Option>& list) {
  std::vector<Option> known = list;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (text.rfind(kPrefix, 0) != 0 || equals == std::string::npos) continue;
    const std::string variable = text.substr(0, equals), value = text.substr(equals + 1);
    if (value.empty() || is_of_kubernetes(variable, value)) continue;
    const std::string name = name_of(variable);
    const Option* option = find_option(name, &known);
    if (option == nullptr && name != "config") {
      const std::string near = nearest_name(name, list);
      throw UsageError("there is no option for the environment variable " + quote(variable) + ": " +
                       (near.empty() ? "" : "did you mean " + variable_of(near) + "? ") +
                       "see recblr-serve --help, or unset it");
    }
    values_[option == nullptr ? name : option->name] = value;
  }
}

std::string Environment::config() const {
  const auto found = values_.find("config");
  return found == values_.end() ? "" : found->second;
}

void Environment::apply(std::vector<Option>* list) const {
  for (Option& option : *list) {
    const auto found = values_.find(option.name);
    if (found == values_.end()) continue;
    std::vector<std::string> values = {found->second};
    if (option.many()) {
      values.clear();
      std::istringstream parts(found->second);
      for (std::string part; std::getline(parts, part, ',');) values.push_back(part);
    }
    option.set(values, variable_of(option.name));
  }
}

}  // namespace recblr::server
