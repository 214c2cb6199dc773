// A small bundle and an engine of it, for tests of what serves them.
#pragma once

#include <string>

#include "recblr/recblr.hpp"
#include "tiny_bundle.h"

namespace recblr::serving {

struct Served {
  Bundle bundle;
  Engine engine;
};

inline Served served(bool has_string_ids = false) {
  const tests::TemporaryFolder folder;
  tests::TinyBundle tiny;
  tiny.has_string_ids = has_string_ids;
  tests::write_bundle(tiny, folder.path());
  Bundle bundle(folder.path());
  Engine engine(bundle);
  return {std::move(bundle), std::move(engine)};
}

}  // namespace recblr::serving
