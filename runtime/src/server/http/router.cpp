#include "server/http/router.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/http/text.h"

namespace recblr::server {
namespace {

// Of a path without its first '/'.
std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> segments;
  for (;;) {
    const size_t slash = path.find('/');
    segments.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return segments;
    path.remove_prefix(slash + 1);
  }
}

bool is_parameter(std::string_view segment) { return !segment.empty() && segment.front() == '{'; }

// Whether `path` is as `pattern` says, whose {..} then go to `parameters`.
bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
             std::vector<std::string>* parameters) {
  if (pattern.size() != path.size()) return false;
  for (size_t j = 0; j < pattern.size(); ++j) {
    if (is_parameter(pattern[j]) ? path[j].empty() : pattern[j] != path[j]) return false;
  }
  parameters->clear();
  for (size_t j = 0; j < pattern.size(); ++j) {
    if (is_parameter(pattern[j])) parameters->push_back(path[j]);
  }
  return true;
}

bool answers(Method offered, Method asked) {
  return offered == asked || (offered == Method::kGet && asked == Method::kHead);
}

}  // namespace

void Router::add(Method method, std::string pattern, Access access, Handler handler) {
  segments_.push_back(split(std::string_view(pattern).substr(1)));
  routes_.push_back({method, std::move(pattern), access, std::move(handler)});
}

const Route* Router::find(Method method, std::string_view raw_path, std::vector<std::string>* parameters,
                          std::string* allowed) const {
  parameters->clear();
  allowed->clear();
  // Most requests are for a path as the pattern has it. A pattern with {..} would match itself with its parameters
  // unfilled, so it is left to the segments.
  for (const Route& route : routes_) {
    if (route.pattern == raw_path && answers(route.method, method) && raw_path.find('{') == std::string_view::npos) {
      return &route;
    }
  }
  if (raw_path.empty() || raw_path.front() != '/') return nullptr;
  std::vector<std::string> path = split(raw_path.substr(1));
  for (std::string& segment : path) {
    std::optional<std::string> decoded = percent_decoded(segment);
    if (!decoded) return nullptr;
    segment = *std::move(decoded);
  }
  std::vector<std::string> found;
  for (size_t j = 0; j < routes_.size(); ++j) {
    if (!matches(segments_[j], path, &found)) continue;
    if (answers(routes_[j].method, method)) {
      *parameters = std::move(found);
      return &routes_[j];
    }
    std::string name = name_of(routes_[j].method);
    if (name == "GET") name += ", HEAD";
    if (allowed->find(name) == std::string::npos) *allowed += (allowed->empty() ? "" : ", ") + name;
  }
  return nullptr;
}

}  // namespace recblr::server
