// The model that is served, and how another takes its place.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "recblr/recblr.hpp"

namespace recblr::server {

// One loaded model; requests that began with it end with it.
struct ServedModel {
  std::string name;  // "recblr" unless --model-name
  std::string path;  // as given, and as resolved when it was loaded
  std::string resolved_path;
  int64_t version = 1;  // 1, 2, ... with each model that took over
  std::chrono::system_clock::time_point loaded;
  Bundle bundle;
  Engine engine;
};
using ServedModelPtr = std::shared_ptr<const ServedModel>;

struct ModelOptions {
  std::string path;  // a bundle, or a link to one
  std::string name = "recblr";
  EngineOptions engine;
  std::optional<std::string> store;  // where users' histories are; none: no routes for users
  StoreOptions store_options;
  RecommenderOptions recommender;
  int64_t rebuild = 10'000;  // users whose states are made anew before another model takes over
};

// Loads, warms up, swaps. Any thread may call anything.
class Models {
 public:
  explicit Models(ModelOptions options);
  ~Models();

  // The first model: opened, verified and warmed up. Throws recblr::Error.
  void load();
  // nullptr before it is loaded.
  ServedModelPtr current() const;
  // nullptr where there is no store, or before it is loaded.
  std::shared_ptr<const Recommender> users() const;
  bool ready() const;
  // While draining it is not ready, though everything is still answered.
  void set_draining();

  // Opens `path`, "" for the one it was started with, verifies and warms up, then it takes over; the model before is
  // kept for a rollback. Waits. One at a time: another one meanwhile fails with kOverloaded. If anything fails, the
  // model stays.
  Expected<ServedModelPtr> reload(const std::string& path = "");
  // The model before takes over again; kInvalidArgument where there is none.
  Expected<ServedModelPtr> rollback();
  // Called after each change, in the thread that changed it.
  void on_change(std::function<void(const ServedModelPtr&)> changed);
  void close(double timeout);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
