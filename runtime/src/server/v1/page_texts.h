// The files in pages/, which are in the executable.
#pragma once

#include <string_view>

namespace recblr::server {

extern const std::string_view kStatusPage, kDocsPage;  // HTML
// The API's description, with @name@ for what only a running server knows: in quotes alone for a number, within a text
// for its words.
extern const std::string_view kOpenApi;

}  // namespace recblr::server
