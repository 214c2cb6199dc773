#include "server/v1/user_request.h"

#include <algorithm>
#include <string>
#include <utility>

#include "server/v1/query.h"
#include "serving/text.h"

namespace recblr::server {

namespace {

OwnedId integer_id(const std::string& digits) {
  const Expected<int64_t> number = read_whole_number("the user's id", digits);
  if (number && std::to_string(*number) == digits) return {OwnedId::Kind::kInteger, *number, {}};
  return {OwnedId::Kind::kBigInteger, 0, digits};  // which the library refuses where it is no number
}

Failure invalid(std::string message) { return {Status::kInvalidArgument, std::move(message)}; }

// One parameter; whether it is one that may be there.
Expected<bool> read_parameter(const std::string& name, const std::string& value, bool ranks, bool* is_integer,
                              serving::Question* ranking) {
  const auto to_row = [&value](std::optional<serving::IdRows>* rows) {
    if (!*rows) rows->emplace();
    (*rows)->add(std::string_view(value));
    return true;
  };
  if (name == "integer" || (ranks && name == "exclude_seen")) {
    const Expected<bool> read = read_bool(name, value);
    if (!read) return read;
    *(name == "integer" ? is_integer : &ranking->exclude_seen) = *read;
    return true;
  }
  if (!ranks) return false;
  if (name == "k") {
    const Expected<int64_t> read = read_whole_number(name, value);
    if (!read) return read.error();
    ranking->k = *read;
    return true;
  }
  if (name == "exclude") return to_row(&ranking->exclude);
  if (name == "only") return to_row(&ranking->only);
  return false;
}

}  // namespace

Expected<UserQuery> read_user_query(const Request& request, bool ranks) {
  Expected<QueryParameters> parameters = read_query(request.query);
  if (!parameters) return parameters.error();
  UserQuery query;
  bool is_integer = false;
  std::vector<std::string_view> given;
  for (const auto& [name, value] : *parameters) {
    const Expected<bool> known = read_parameter(name, value, ranks, &is_integer, &query.ranking);
    if (!known) return known.error();
    if (!*known) {
      return invalid(serving::shown(name) + " is no parameter of this address: use " +
                     (ranks ? "k, exclude_seen, exclude, only, integer" : "integer"));
    }
    if (name == "exclude" || name == "only") continue;  // one for each item
    if (std::find(given.begin(), given.end(), name) != given.end()) {
      return invalid(name + " is there twice: give it once");
    }
    given.push_back(name);
  }
  query.ranking.items.end_row();
  if (query.ranking.exclude) query.ranking.exclude->end_row();
  if (query.ranking.only) query.ranking.only->end_row();
  const std::string& id = request.parameters.at(0);
  query.user = is_integer ? integer_id(id) : OwnedId{OwnedId::Kind::kString, 0, id};
  return query;
}

std::vector<recblr::Event> EventsBody::of(const Id& user) const {
  std::vector<recblr::Event> views;
  views.reserve(events.size());
  for (const Event& event : events) {
    recblr::Event& view = views.emplace_back(recblr::Event{user, {}});
    view.items.reserve(event.items.size());
    for (const OwnedId& item : event.items) view.items.push_back(item.view());
    if (!event.event_id.empty()) view.event_id = event.event_id[0].view();
  }
  return views;
}

Expected<EventsBody> read_events(std::string_view body, const serving::QuestionLimits& limits) {
  constexpr std::string_view kItems = "give a list of item ids", kEventId = "give an integer or a string";
  EventsBody read;
  EventsBody::Event alone;
  EventsBody::Event beyond;  // the limit: read, but not kept
  IdCount count(limits), event_ids(limits);
  int64_t n_events = 0;
  OwnedIdsSink alone_items(&count, &alone.items), alone_id(&event_ids, &alone.event_id);
  OwnedIdsSink items(&count), event_id(&event_ids);
  ObjectSink objects{
      {{"items", Field::Row{&items}, kItems, true}, {"event_id", Field::One{&event_id}, kEventId, false, true}},
      [&] {
        beyond = {};
        EventsBody::Event& event = count.add_row(++n_events) ? read.events.emplace_back() : beyond;
        items.redirect(&event.items);
        event_id.redirect(&event.event_id);
      },
      [&] { read.is_list = true; }};
  const Expected<void> done = read_body(body, {{"items", Field::Row{&alone_items}, kItems},
                                               {"event_id", Field::One{&alone_id}, kEventId, false, true},
                                               {"events", &objects, "give a list of events"}});
  if (!done) return done.error();
  if (const Expected<void> checked = count.check("events"); !checked) return checked.error();
  read.n_items = count.n_ids();
  if (read.is_list && (alone_items.is_given() || alone_id.is_given())) {
    return invalid("items and event_id are beside events: give either one event's or the list");
  }
  if (!read.is_list && !alone_items.is_given()) return invalid("items is missing: give a list of item ids, or events");
  if (!read.is_list) read.events.push_back(std::move(alone));
  return read;
}

}  // namespace recblr::server
