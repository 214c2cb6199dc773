#include "server/fronts.h"

#include <functional>
#include <future>
#include <optional>
#include <system_error>

#include "server/oip/routes.h"
#include "server/v1/routes.h"
#ifdef RECBLR_WITH_GRPC
#include "server/grpc/grpc_server.h"
#endif

namespace recblr::server {

namespace {

constexpr int kPoolThreads = 16;
constexpr int64_t kPoolQueue = 4096;

// Lines of a front for the log.
std::function<void(const std::string&)> warnings(Observation* observation, const char* event) {
  return [observation, event](const std::string& message) {
    observation->log().write(LogLevel::kWarning, event, message);
  };
}

}  // namespace

Fronts::Fronts(const Options& options, Models* models, Observation* observation)
    : pool_(kPoolThreads, kPoolQueue), users_pool_(kPoolThreads, kPoolQueue) {
  const std::optional<Batching>& batching = options.model.engine.batching;
  const std::optional<double> timeout = batching ? batching->timeout : std::nullopt;
  const V1Options v1{options.limits, options.http.limits.max_body_bytes, options.reloads_any_path, timeout};
  const OipOptions oip{options.limits, timeout};
  add_v1_routes(&router_, models, &pool_, &users_pool_, v1);
  add_page_routes(&router_, models, v1);
  add_oip_routes(&router_, models, &pool_, &statistics_, oip);
  add_metrics_route(&router_, &observation->metrics(), &pool_);
  HttpOptions http = options.http;
  http.warn = warnings(observation, "http");
  http_ = std::make_unique<HttpServer>(http, router_, observation);
  observation->metrics().add_gauge("recblr_http_connections", "Open connections over HTTP.",
                                   [this] { return static_cast<double>(http_->connections()); });
#ifdef RECBLR_WITH_GRPC
  if (!options.grpc_addresses.empty()) {
    const GrpcOptions grpc{
        options.grpc_addresses,       options.http.tls, options.http.limits, options.http.tokens, oip,
        warnings(observation, "grpc")};
    grpc_ = std::make_unique<GrpcServer>(grpc, models, &pool_, &statistics_, observation);
  }
#else
  if (!options.grpc_addresses.empty()) {
    throw Error({Status::kBadConfig, "this recblr-serve was built without gRPC: leave out --grpc-port"});
  }
#endif
  try {
    http_->start();
  } catch (...) {
#ifdef RECBLR_WITH_GRPC
    // Where no thread can be had, gRPC has not got its own either, and would wait for them without end.
    static_cast<void>(grpc_.release());
#endif
    throw;
  }
}

Fronts::~Fronts() {
  // What still waits in them uses the servers.
  pool_.stop();
  users_pool_.stop();
}

std::vector<std::string> Fronts::urls() const {
  std::vector<std::string> urls = http_->urls();
#ifdef RECBLR_WITH_GRPC
  if (grpc_) urls.insert(urls.end(), grpc_->urls().begin(), grpc_->urls().end());
#endif
  return urls;
}

int64_t Fronts::drain(double timeout) {
#ifdef RECBLR_WITH_GRPC
  if (grpc_) {
    const auto drain_grpc = [this, timeout] { return grpc_->drain(timeout); };
    std::future<int64_t> n_left_of_grpc;
    try {
      n_left_of_grpc = std::async(std::launch::async, drain_grpc);
    } catch (const std::system_error&) {  // no thread can be had: one after the other
      n_left_of_grpc = std::async(std::launch::deferred, drain_grpc);
    }
    const int64_t n_left = http_->drain(timeout);
    return n_left + n_left_of_grpc.get();
  }
#endif
  return http_->drain(timeout);
}

}  // namespace recblr::server
