// Bodies of /v1: what is read of one is what another reader of JSON finds in it, and what is wrong is one short line.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "server/v1/body_reader.h"
#include "server/v1/id_sinks.h"
#include "server/v1/user_request.h"

namespace {

using nlohmann::json;
using recblr::server::Field;

void check(bool is_right) {
  if (!is_right) abort();
}

void check_ids(const recblr::serving::IdRows& rows, int64_t row, const json& expected) {
  const recblr_ids ids = rows.view();
  check(rows.size(row) == static_cast<int64_t>(expected.size()));
  int64_t place = ids.offsets[row];
  for (const json& id : expected) {
    const int64_t j = place++;
    if (ids.type == RECBLR_INTEGER_IDS) {
      check(id.is_number_integer() && id == ids.integers[j]);
      continue;
    }
    const std::string text(ids.text + ids.text_offsets[j], ids.text + ids.text_offsets[j + 1]);
    if (id.is_string()) check(id == text);
    if (id.is_number_integer()) check(id.dump() == text);
    check(id.is_string() || id.is_number());
  }
}

void check_rows(const recblr::serving::IdRows& rows, const json& expected) {
  check(rows.n_rows() == static_cast<int64_t>(expected.size()));
  for (int64_t b = 0; b < rows.n_rows(); ++b) check_ids(rows, b, expected[static_cast<size_t>(b)]);
}

void check_message(const recblr::Failure& failure) {
  check(failure.status == recblr::Status::kInvalidArgument);
  check(!failure.message.empty() && failure.message.size() < 600);
  check(failure.message.find('\n') == std::string::npos);
  static_cast<void>(json(failure.message).dump());  // throws where it is no UTF-8
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  recblr::serving::IdRows histories;
  std::optional<recblr::serving::IdRows> exclude, only;
  std::optional<int64_t> k;
  std::optional<std::string> path;
  bool exclude_seen = true;
  const recblr::serving::QuestionLimits limits;
  recblr::server::IdCount count(limits);
  recblr::server::RowsSink histories_sink(&histories, &count), exclude_sink(&exclude, &count), only_sink(&only, &count);
  const auto read = recblr::server::read_body(body, {{"histories", Field::Rows{&histories_sink}, "give lists", true},
                                                     {"k", &k, "give a whole number"},
                                                     {"exclude_seen", &exclude_seen, "give true or false"},
                                                     {"exclude", Field::Rows{&exclude_sink}, "give lists", false, true},
                                                     {"only", Field::Row{&only_sink}, "give a list", false, true},
                                                     {"path", &path, "give a string", false, true}});
  if (read) {
    const json found = json::parse(body, nullptr, false);
    check(found.is_object());
    check_rows(histories, found.at("histories"));
    check(k.has_value() == found.contains("k") && (!k || found["k"] == *k));
    check(exclude_seen == found.value("exclude_seen", true));
    check(exclude.has_value() == (found.contains("exclude") && !found["exclude"].is_null()));
    if (exclude) check_rows(*exclude, found["exclude"]);
    check(only.has_value() == (found.contains("only") && !found["only"].is_null()));
    if (only) check_ids(*only, 0, found["only"]);
    if (path) check(found.at("path") == *path);
  } else {
    check_message(read.error());
  }

  const auto events = recblr::server::read_events(body, limits);
  if (!events) {
    check_message(events.error());
    return 0;
  }
  const json found = json::parse(body, nullptr, false);
  const json list = events->is_list ? found.at("events") : json::array({found});
  check(list.size() == events->events.size());
  for (size_t j = 0; j < list.size(); ++j) {
    const auto& event = events->events[j];
    check(event.items.size() == list[j].at("items").size());
    check(event.event_id.empty() == (!list[j].contains("event_id") || list[j]["event_id"].is_null()));
    for (size_t i = 0; i < event.items.size(); ++i) {
      const json& item = list[j]["items"][i];
      const auto& id = event.items[i];
      if (item.is_string()) check(id.view().is_string() && item == id.text);
      if (item.is_number_integer() && !item.is_number_unsigned()) check(item == id.integer);
      check(item.is_string() || item.is_number());
    }
  }
  return 0;
}
