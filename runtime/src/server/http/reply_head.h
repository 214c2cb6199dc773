// The head of a reply, as bytes.
#pragma once

#include <string>
#include <string_view>

#include "server/http/message.h"

namespace recblr::server {

enum class KeepAlive { kImplied, kSaid, kClose };

// Replaces `head`, whose memory is used again, with the status line and all fields. Characters that would end a field
// are left out of their values.
void write_head(const Reply& reply, std::string_view request_id, KeepAlive keep_alive, std::string* head);

// Those that have neither a body nor Content-Length.
inline bool has_no_body(int status) { return status == 204 || status == 304; }

}  // namespace recblr::server
