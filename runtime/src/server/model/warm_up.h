// Lets a new engine run before anybody waits for it.
#pragma once

#include "recblr/recblr.hpp"

namespace recblr::server {

enum class WarmUp {
  kFirst,          // single users and many, short histories and long ones, on all of the engine's threads at once
  kBesideAnother,  // what takes about a millisecond, one after another: requests to the model in place are not delayed
};

// Asks an engine, so that first requests wait for little that has never run. Fails where a run does, as with weights
// that give no numbers; the bundle's path is in the message.
Expected<void> warm_up(const Bundle& bundle, const Engine& engine, WarmUp how);

}  // namespace recblr::server
