#include "server/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/end_guard.h"
#include "server/first_load.h"
#include "server/fronts.h"
#include "server/model/models.h"
#include "server/model/reloader.h"
#include "server/observe/observation.h"
#include "server/signals.h"
#include "serving/text.h"

namespace recblr::server {

namespace {

using Clock = std::chrono::steady_clock;

constexpr double kFlush = 3;  // seconds, at most, for the last traces and lines

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

// A connection must not get the number of a standard file that the process was started without: what is written there
// would go to the client.
void open_standard_files() {
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; ++file) {
    if (fcntl(file, F_GETFD) == -1) static_cast<void>(open("/dev/null", O_RDWR));  // the lowest free number
  }
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text;
}

// A line for people. Where it cannot be written, nobody misses it.
void print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

// What an engine takes for 0, as recblr.h says.
int threads_of_batch(const EngineOptions& options, int64_t n_items) {
  if (options.threads > 0) return options.threads;
  return n_items < RECBLR_LARGE_CATALOGUE ? 1 : std::min(usable_cpus(), RECBLR_MAX_THREADS);
}
int workers(const EngineOptions& options, int threads) {
  const int given = options.batching ? options.batching->workers : 0;
  return given > 0 ? given : std::clamp(usable_cpus() / threads, 1, RECBLR_MAX_THREADS);
}

class Service {
 public:
  explicit Service(const Options& options)
      : options_(options), models_(options.model), observation_(options.log, options.trace, &models_) {}

  int run() {
    try {
      fronts_.emplace(options_, &models_, &observation_);
    } catch (const Error& error) {
      log().write(LogLevel::kError, "listen", error.what());
      return 1;
    }
    print("Listening at " + joined(fronts_->urls()) + ", loading " + options_.model.path);
    FirstLoad load(&models_, &signals_);
    int status = answer(load);
    const Clock::time_point began = Clock::now();
    guard_.emplace(&signals_, &observation_, options_.drain_delay + options_.drain_timeout);
    if (reloader_) reloader_->stop();
    const Drained drained = drain();
    if (drained.n_left > 0) {
      log().write(LogLevel::kWarning, "stop",
                  "the time to drain is over: " + serving::grouped(drained.n_left) +
                      (drained.n_left == 1 ? " request under way is left" : " requests under way are left"),
                  {{"drain_timeout", options_.drain_timeout}});
      status = 1;
    }
    guard_->answered(status);
    const bool is_idle =
        drained.n_left == 0 && drained.engines_ended && load.has_ended() && (!reloader_ || reloader_->stop());
    if (status == 0) log().write(LogLevel::kInfo, "stop", "", {{"seconds", seconds_since(began)}});
    const double left = std::max(0.0, options_.drain_delay + options_.drain_timeout - seconds_since(began));
    const bool is_told = observation_.flush(std::min(kFlush, left));
    // Nobody waits for a model that is being loaded, for requests that are left, nor for a collector that does not
    // answer.
    if (!is_idle || !is_told) std::_Exit(status);
    return status;
  }

 private:
  Log& log() { return observation_.log(); }

  // Until a signal to end, or until the first model cannot be loaded. The exit status.
  int answer(const FirstLoad& load) {
    const Clock::time_point began = Clock::now();
    bool is_loaded = false, reloads_then = false;
    while (true) {
      const int signal = signals_.wait(-1);
      if (!is_loaded && load.has_ended()) {
        if (load.failure()) {
          log().write(LogLevel::kError, "load", load.failure()->message);
          return 1;
        }
        is_loaded = true;
        greet(seconds_since(began));
        reloader_.emplace(&models_, options_.model.path, options_.watch_interval,
                          [this](const std::string& line) { log().write(LogLevel::kWarning, "reload", line); });
        if (reloads_then) reloader_->request();
      }
      if (signal == SIGTERM || signal == SIGINT) {
        log().write(LogLevel::kInfo, "drain", "told to end",
                    {{"signal", signal == SIGTERM ? std::string_view("SIGTERM") : "SIGINT"}});
        return 0;
      }
      if (signal == SIGHUP) {
        if (is_loaded) reloader_->request();
        reloads_then = true;  // the files may have changed since they were read
      }
    }
  }

  void greet(double seconds) {
    const ServedModelPtr model = models_.current();
    const std::vector<std::string> urls = fronts_->urls();
    const std::string addresses = joined(urls);
    const bool has_page = urls.front().rfind("http", 0) == 0;  // no browser asks a unix socket
    print("Serving " + serving::grouped(model->bundle.n_items()) + " items at " + addresses +
          (has_page ? " (API page: " + urls.front() + "/docs)" : "") + ", " + std::string(model->engine.description()));
    LogFields fields{
        {"version", version()},         {"pid", int64_t{getpid()}}, {"fingerprint", model->bundle.fingerprint()},
        {"path", model->resolved_path}, {"seconds", seconds},       {"addresses", addresses}};
    const int threads = threads_of_batch(options_.model.engine, model->bundle.n_items());
    for (const Setting& setting : options_.settings) {
      if (setting.name == "threads") {
        fields.push_back({setting.name, int64_t{threads}});
      } else if (setting.name == "workers") {
        fields.push_back({setting.name, int64_t{workers(options_.model.engine, threads)}});
      } else {
        fields.push_back({setting.name, setting.value});
      }
    }
    log().write(LogLevel::kInfo, "ready", "", fields);
  }

  struct Drained {
    int64_t n_left;  // requests
    bool engines_ended;
  };

  Drained drain() {
    models_.set_draining();
    // For balancers that look only now and then whether it is ready.
    if (models_.current() != nullptr) std::this_thread::sleep_for(std::chrono::duration<double>(options_.drain_delay));
    const Clock::time_point began = Clock::now();
    // What is left for engines and the log.
    const double reserve = std::min(1.0, 0.1 * options_.drain_timeout);
    const auto left = [&](double kept) { return std::max(0.0, options_.drain_timeout - seconds_since(began) - kept); };
    const int64_t n_left = fronts_->drain(left(reserve));
    return {n_left, models_.close(left(reserve / 2))};
  }

  const Options& options_;
  Signals signals_;  // before all threads
  Models models_;
  Observation observation_;
  std::optional<EndGuard> guard_;  // until all below is gone
  std::optional<Fronts> fronts_;
  std::optional<Reloader> reloader_;
};

}  // namespace

int serve(const Options& options) {
  open_standard_files();
  try {
    return Service(options).run();
  } catch (const std::exception& error) {  // before there is a log, or of threads that the system does not give
    std::fprintf(stderr, "Error: %s\n", error.what());
    return 1;
  }
}

}  // namespace recblr::server
