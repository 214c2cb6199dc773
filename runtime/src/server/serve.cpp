#include "server/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/end_guard.h"
#include "server/grpc/grpc_server.h"
#include "server/http/http_server.h"
#include "server/http/router.h"
#include "server/model/models.h"
#include "server/model/reloader.h"
#include "server/observe/observation.h"
#include "server/oip/routes.h"
#include "server/oip/statistics.h"
#include "server/signals.h"
#include "server/v1/routes.h"
#include "server/work/pool.h"

namespace recblr::server {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kPoolThreads = 16;
constexpr int64_t kPoolQueue = 4096;
constexpr double kFlush = 3;  // seconds, at most, for the last traces and lines

double seconds_since(Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); }

// A connection must not get the number of a standard file that the process was started without: what is written there
// would go to the client.
void open_standard_files() {
  for (int file = STDIN_FILENO; file <= STDERR_FILENO; ++file) {
    if (fcntl(file, F_GETFD) == -1) static_cast<void>(open("/dev/null", O_RDWR));  // the lowest free number
  }
}

// 1,682
std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text;
}

// A line for people. Where nobody reads it, nobody misses it.
void print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

// Loads the first model in a thread of its own.
class FirstLoad {
 public:
  FirstLoad(Models* models, Signals* signals) : thread_([this, models, signals] { run(models, signals); }) {}
  ~FirstLoad() { thread_.join(); }
  bool has_ended() const { return has_ended_; }
  const std::optional<Failure>& failure() const { return failure_; }  // once it has ended

 private:
  void run(Models* models, Signals* signals) {
    try {
      models->load();
    } catch (const Error& error) {
      failure_ = {error.status(), error.what()};
    } catch (const std::exception& error) {
      failure_ = {Status::kInternal, error.what()};
    }
    has_ended_ = true;
    signals->wake();
  }

  std::optional<Failure> failure_;
  std::atomic<bool> has_ended_{false};
  std::thread thread_;
};

class Service {
 public:
  explicit Service(const Options& options)
      : options_(options),
        models_(options.model),
        observation_(options.log, options.trace, &models_),
        pool_(kPoolThreads, kPoolQueue) {}

  int run() {
    LogFields fields{{"version", version()}, {"pid", int64_t{getpid()}}};
    for (const Setting& setting : options_.settings) fields.push_back({setting.name, setting.value});
    log().write(LogLevel::kInfo, "start", "", fields);
    try {
      listen();
    } catch (const Error& error) {
      log().write(LogLevel::kError, "listen", error.what());
      return 1;
    }
    print("Listening at " + joined(urls()) + ", loading " + options_.model.path);
    FirstLoad load(&models_, &signals_);
    const bool is_loaded = answer(&load);
    const Clock::time_point began = Clock::now();
    guard_.emplace(&signals_, &observation_, options_.drain_timeout);
    drain(began);
    const bool is_idle = load.has_ended() && (!reloader_ || reloader_->stop());
    log().write(LogLevel::kInfo, "stop", "", {{"seconds", seconds_since(began)}});
    const double left = std::max(0.0, options_.drain_timeout - seconds_since(began));
    const bool is_told = observation_.flush(std::min(kFlush, left));
    const int status = is_loaded || !load.failure() ? 0 : 1;
    // Nobody waits for a model that is being loaded, nor for a collector that does not answer.
    if (!is_idle || !is_told) std::_Exit(status);
    return status;
  }

 private:
  Log& log() { return observation_.log(); }

  void listen() {
    add_metrics_route(&router_, &observation_.metrics(), &pool_);
    const V1Options v1{options_.limits, options_.http.limits.max_body_bytes};
    add_v1_routes(&router_, &models_, &pool_, v1);
    add_page_routes(&router_, &models_, v1);
    add_oip_routes(&router_, &models_, &pool_, &oip_statistics_, {options_.limits, std::nullopt});
    HttpOptions http = options_.http;
    http.warn = [this](const std::string& message) { log().write(LogLevel::kWarning, "http", message); };
    http_ = std::make_unique<HttpServer>(http, router_, &observation_);
    observation_.metrics().add_gauge("recblr_http_connections", "Open connections over HTTP.",
                                     [this] { return static_cast<double>(http_->connections()); });
    if (!options_.grpc_addresses.empty()) listen_for_grpc();
    http_->start();
  }

  void listen_for_grpc() {
    GrpcOptions grpc;
    grpc.addresses = options_.grpc_addresses;
    grpc.tls = options_.http.tls;
    grpc.limits = options_.http.limits;
    grpc.tokens = options_.http.tokens;
    grpc.oip = {options_.limits, std::nullopt};
    grpc.warn = [this](const std::string& message) { log().write(LogLevel::kWarning, "grpc", message); };
    grpc_ = std::make_unique<GrpcServer>(grpc, &models_, &pool_, &oip_statistics_, &observation_);
  }

  std::vector<std::string> urls() const {
    std::vector<std::string> urls = http_->urls();
    if (grpc_ != nullptr) urls.insert(urls.end(), grpc_->urls().begin(), grpc_->urls().end());
    return urls;
  }

  // Until a signal to end, or until the first model cannot be loaded; whether there is a model.
  bool answer(FirstLoad* load) {
    bool is_loaded = false, reloads_then = false;
    while (true) {
      const int signal = signals_.wait(-1);
      if (!is_loaded && load->has_ended()) {
        if (load->failure()) {
          log().write(LogLevel::kError, "load", load->failure()->message);
          return false;
        }
        is_loaded = true;
        greet();
        reloader_.emplace(&models_, options_.model.path, options_.watch_interval);
        if (reloads_then) reloader_->request();
      }
      if (signal == SIGTERM || signal == SIGINT) {
        log().write(LogLevel::kInfo, "drain", "told to end",
                    {{"signal", signal == SIGTERM ? std::string_view("SIGTERM") : "SIGINT"}});
        return is_loaded;
      }
      if (signal == SIGHUP) {
        if (is_loaded) reloader_->request();
        reloads_then = true;  // the files may have changed since they were read
      }
    }
  }

  void greet() {
    const ServedModelPtr model = models_.current();
    const std::string url = urls().front();
    print("Serving " + grouped(model->bundle.n_items()) + " items at " + joined(urls()) + " (API page: " + url +
          "/docs), " + std::string(model->engine.description()));
    log().write(LogLevel::kInfo, "ready", "", {{"model", model->name}, {"fingerprint", model->bundle.fingerprint()}});
  }

  void drain(Clock::time_point began) {
    // What is left for engines and the log.
    const double reserve = std::min(1.0, 0.1 * options_.drain_timeout);
    const auto left = [&](double kept) { return std::max(0.0, options_.drain_timeout - seconds_since(began) - kept); };
    models_.set_draining();
    std::thread grpc([&] {
      if (grpc_ != nullptr) grpc_->drain(left(reserve));
    });
    http_->drain(left(reserve));
    grpc.join();
    models_.close(left(reserve / 2));
  }

  const Options& options_;
  Signals signals_;  // before all threads
  Models models_;
  Observation observation_;
  std::optional<EndGuard> guard_;  // until all below is gone
  OipStatistics oip_statistics_;
  Pool pool_;
  Router router_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<GrpcServer> grpc_;
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
