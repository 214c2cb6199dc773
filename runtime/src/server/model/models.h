// The model that is served, and how another takes its place.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "recblr/recblr.hpp"
#include "server/model/served_model.h"

namespace recblr::server {

struct ModelOptions {
  std::string path;  // a bundle, or a link to one
  std::string name = "recblr";
  EngineOptions engine;
  std::optional<std::string> store;  // where users' histories are; none: no routes for users
  StoreOptions store_options;
  RecommenderOptions recommender;
  int64_t rebuild = 10'000;  // users whose states are made anew before another model takes over
};

// A change of the model, or one that failed.
struct ModelEvent {
  enum class Kind { kLoaded, kReloaded, kRolledBack, kReloadFailed, kRollbackFailed };
  Kind kind;
  ServedModelPtr model;  // that is served now
  double seconds = 0;    // that it took
  Failure failure = {};  // why it failed
};

// Loads, warms up, swaps. Any thread may call anything.
class Models {
 public:
  explicit Models(ModelOptions options);
  // Not while a call of the others is under way. Models that requests still hold are freed with the last of them.
  ~Models();

  // The first model: opened, verified and warmed up. Throws recblr::Error.
  void load();
  // Where the path led then; "" before.
  std::string first_path() const;
  // nullptr before it is loaded. Costs nanoseconds; ask once for a request. A model may be let go in any thread: it is
  // freed in one of its own.
  ServedModelPtr current() const;
  // That a rollback goes back to; nullptr where there is none.
  ServedModelPtr previous() const;
  // nullptr where there is no store, or before it is loaded. It changes models by itself, a moment before `current`.
  std::shared_ptr<const Recommender> users() const;
  bool ready() const;
  // While draining it is not ready, though everything is still answered.
  void set_draining();

  // Opens `path`, "" for the one it was started with, verifies and warms up, then it takes over; the model before is
  // kept for a rollback. Waits. One at a time: another one meanwhile fails with kOverloaded. If anything fails, memory
  // included, the model stays, and that is told.
  Expected<ServedModelPtr> reload(const std::string& path = "");
  // The model before takes over again, and none is before it then; kInvalidArgument where there is none.
  Expected<ServedModelPtr> rollback();
  // Called after each change and each failed one, in the thread that asked for it, one call at a time; but not for the
  // failures of `load`. Set before `load`.
  void on_event(std::function<void(const ModelEvent&)> told);
  // Called with each model that nobody holds any more just before it is freed, in a thread of its own; but not for
  // those that are there at the end. After this returns, what was set before is called no more.
  void on_free(std::function<void(const ServedModel&)> told);

  // Ends all engines: they take no more, and answer what they took within `timeout` seconds. Whether they did; if not,
  // their end is still waited for where they are freed. A reload under way fails.
  bool close(double timeout);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
