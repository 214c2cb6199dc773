#include "server/v1/query.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "server/http/text.h"
#include "serving/text.h"

namespace recblr::server {

namespace {

std::optional<std::string> decoded(std::string_view text) {
  std::string spaced(text);
  for (char& c : spaced) {
    if (c == '+') c = ' ';
  }
  return percent_decoded(spaced);
}

Failure wrong(std::string_view name, std::string_view text, const char* advice) {
  return {Status::kInvalidArgument, std::string(name) + " is " + serving::shown(text) + ": " + advice};
}

}  // namespace

Expected<QueryParameters> read_query(std::string_view query) {
  QueryParameters parameters;
  while (!query.empty()) {
    const std::string_view part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (part.empty()) continue;
    const size_t equals = std::min(part.find('='), part.size());
    std::optional<std::string> name = decoded(part.substr(0, equals));
    std::optional<std::string> value = decoded(part.substr(std::min(equals + 1, part.size())));
    if (!name || !value) return wrong("the query's part", part, "give UTF-8, percent-encoded");
    parameters.emplace_back(*std::move(name), *std::move(value));
  }
  return parameters;
}

Expected<int64_t> read_whole_number(std::string_view name, std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const std::from_chars_result read = std::from_chars(text.data(), end, number);
  if (read.ec != std::errc() || read.ptr != end) return wrong(name, text, "give a whole number");
  return number;
}

Expected<bool> read_bool(std::string_view name, std::string_view text) {
  if (text == "true" || text == "false") return text == "true";
  return wrong(name, text, "give true or false");
}

}  // namespace recblr::server
