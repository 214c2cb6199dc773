// What requests for /v1/users say in their addresses and bodies.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "recblr/recblr.hpp"
#include "server/http/message.h"
#include "server/v1/id_sinks.h"
#include "serving/question.h"

namespace recblr::server {

// The user of a request whose route has one {..}: a string, or the integer that its digits are where the query has
// integer=true.
struct UserQuery {
  OwnedId user;
  serving::Question ranking;  // of one user: k, exclude_seen, exclude, only
};

// Fails with kInvalidArgument for parameters that are unknown or given twice, and for values that are none. Only where
// `ranks` may there be k, exclude_seen, exclude and only.
Expected<UserQuery> read_user_query(const Request& request, bool ranks);

// New events of a user, oldest first.
struct EventsBody {
  struct Event {
    std::vector<OwnedId> items;
    std::vector<OwnedId> event_id;  // one, or none
  };
  std::vector<Event> events;
  int64_t n_items = 0;   // of all
  bool is_list = false;  // they came as {"events": [...]}, not as {"items": [...], "event_id": ...}

  // Views of them, for the library.
  std::vector<recblr::Event> of(const Id& user) const;
};
// Fails beyond the limits, too, of which max_users are events.
Expected<EventsBody> read_events(std::string_view body, const serving::QuestionLimits& limits);

}  // namespace recblr::server
