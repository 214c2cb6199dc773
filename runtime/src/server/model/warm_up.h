// Lets a new engine run before anybody waits for it.
#pragma once

#include "recblr/recblr.hpp"

namespace recblr::server {

// Asks for single users and many, short histories and long ones, on all of the engine's threads, so that none of them
// takes memory at its first request. Fails where a run does, as with weights that give no numbers; the bundle's path is
// in the message.
Expected<void> warm_up(const Bundle& bundle, const Engine& engine);

}  // namespace recblr::server
