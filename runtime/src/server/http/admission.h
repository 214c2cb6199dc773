// Whether a request is answered by a handler.
#pragma once

#include <optional>

#include "server/http/message.h"
#include "server/http/request_reader.h"
#include "server/http/router.h"
#include "server/http/server_state.h"

namespace recblr::server {

struct Admission {
  const Route* route = nullptr;    // nullptr where there is none for the path and the method
  std::optional<Reply> objection;  // the reply where the handler is not to be asked
};

// Of a request whose head is read: finds its route, sets its parameters, checks its token, that it comes from no page
// of another site, and that there is room. `is_unix`: it came over a unix socket.
Admission admit(const ServerState& state, RequestReader& reader, bool is_unix);

// The reply where as many requests are being answered as may be. Those to public routes always have room, so that
// health is told of whatever the load.
std::optional<Reply> busy(const ServerState& state, const Route& route);

// The reply where there are as many connections as may be.
Reply too_many_connections();

}  // namespace recblr::server
