#include "server/first_load.h"

#include <exception>

namespace recblr::server {

FirstLoad::FirstLoad(Models* models, Signals* signals)
    : thread_([this, models, signals] {
        try {
          models->load();
        } catch (const Error& error) {
          failure_ = {error.status(), error.what()};
        } catch (const std::exception& error) {
          failure_ = {Status::kInternal, error.what()};
        }
        has_ended_ = true;
        signals->wake();
      }) {}

FirstLoad::~FirstLoad() { thread_.join(); }

}  // namespace recblr::server
