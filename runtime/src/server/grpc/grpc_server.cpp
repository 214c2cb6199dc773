#include "server/grpc/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <future>
#include <iterator>
#include <system_error>
#include <thread>
#include <utility>

#include "server/grpc/health.h"
#include "server/grpc/library_log.h"
#include "server/grpc/missing_calls.h"
#include "server/grpc/service.h"
#include "server/http/listening_socket.h"
#include "serving/text.h"

namespace recblr::server {
namespace {

using serving::shown;

[[noreturn]] void fail(const std::string& message) { throw Error({Status::kBadConfig, message}); }

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file || content.empty()) fail("the file " + shown(path) + " cannot be read: give one in PEM form");
  return content;
}

std::shared_ptr<grpc::ServerCredentials> credentials(const TlsFiles& files) {
  if (files.certificate.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options;
  if (!files.client_ca.empty()) {
    options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
    options.pem_root_certs = content_of(files.client_ca);
  }
  options.pem_key_cert_pairs.push_back({content_of(files.key), content_of(files.certificate)});
  return grpc::SslServerCredentials(options);
}

constexpr double kMostOfConnection = 128;  // calls at once; clients let others wait
constexpr double kAge = 600;               // seconds until a connection is to be replaced by a new one
constexpr std::chrono::milliseconds kLook(50), kDrainGrace(2000);

int whole(double number) { return static_cast<int>(std::min(number, 2e9)); }

// Without its port.
std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

class GrpcServer::Impl {
 public:
  Impl(const GrpcOptions& options, const Models* models, Pool* pool, OipStatistics* statistics, Observer* observer)
      : service_(options, models, pool, statistics, observer), health_(models) {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_).RegisterService(&health_).RegisterCallbackGenericService(&missing_);
    set_limits(options.limits, &builder);
    const auto tls = credentials(options.tls);
    std::vector<int> ports(options.addresses.size());
    for (size_t j = 0; j < ports.size(); ++j) {
      const std::string& address = options.addresses[j];
      builder.AddListeningPort(address, is_unix_address(address) ? grpc::InsecureServerCredentials() : tls, &ports[j]);
    }
    log_.take_last();
    server_ = builder.BuildAndStart();
    for (size_t j = 0; j < ports.size(); ++j) {
      const std::string& address = options.addresses[j];
      if (server_ == nullptr || ports[j] == 0) refuse(address);
      urls_.push_back(is_unix_address(address) ? address
                                               : std::string(options.tls.certificate.empty() ? "grpc://" : "grpcs://") +
                                                     host_of(address) + ":" + std::to_string(ports[j]));
    }
    log_.forward(options.warn);  // until here, what it says is in the error
  }
  ~Impl() { drain(0); }

  const std::vector<std::string>& urls() const { return urls_; }

  int64_t drain(double timeout) {
    if (server_ == nullptr || is_drained_) return 0;
    is_drained_ = true;
    const auto left = std::chrono::microseconds(static_cast<int64_t>(std::min(timeout, 1e9) * 1e6));
    const auto deadline = std::chrono::system_clock::now() + left;
    service_.end_at(deadline);
    std::promise<void> is_shut;
    std::thread closer;
    try {
      closer = std::thread([this, shut = is_shut.get_future()] { close_idle(shut); });
    } catch (const std::system_error&) {  // no thread can be had: idle clients take all the time
    }
    server_->Shutdown(deadline);
    is_shut.set_value();
    if (closer.joinable()) closer.join();
    server_->Wait();
    return service_.n_dropped();
  }

 private:
  static void set_limits(const HttpLimits& limits, grpc::ServerBuilder* builder) {
    const auto max_concurrent = static_cast<double>(limits.max_concurrent);
    builder->SetMaxReceiveMessageSize(whole(static_cast<double>(limits.max_body_bytes)));
    builder->SetMaxSendMessageSize(-1);
    builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, whole(static_cast<double>(limits.max_header_bytes)));
    builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, whole(std::min(max_concurrent, kMostOfConnection)));
    // The limit of messages is of their packed size: what they would unpack to has none. So they come as they are.
    builder->AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
    builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
    builder->SetResourceQuota(grpc::ResourceQuota("recblr").Resize(static_cast<size_t>(limits.max_bodies_bytes)));
    // A connection without calls goes as HTTP's does; one with calls that never come to their end goes, too, in time.
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, whole(limits.keep_alive * 1e3));
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, whole(kAge * 1e3));
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                                whole((limits.body_timeout + limits.write_timeout) * 1e3));
    builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, whole(limits.header_timeout * 1e3));
    builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, whole(limits.keep_alive * 1e3));
    builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, whole(limits.header_timeout * 1e3));
    // Clients may ask more often than gRPC lets them: many do, behind balancers that drop idle connections.
    builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
    // A second server on the port would take half of its connections, instead of saying that it is in use.
    builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  }

  // Closes the connections of clients that do not go though they are told to, once there have been no calls for
  // kDrainGrace: until then the message of one may still be on its way, of which the service does not know.
  void close_idle(const std::future<void>& shut) {
    auto last_open = std::chrono::steady_clock::now();
    while (shut.wait_for(kLook) == std::future_status::timeout) {
      const auto now = std::chrono::steady_clock::now();
      if (service_.n_open() > 0) last_open = now;
      if (now - last_open < kDrainGrace) continue;
      service_.end_at(std::chrono::system_clock::now());
      return grpc_server_cancel_all_calls(server_->c_server());
    }
  }

  [[noreturn]] void refuse(const std::string& address) {
    const std::string why = log_.take_last();
    fail("cannot listen at " + shown(address) + " for gRPC" + (why.empty() ? "" : " (" + why + ")") +
         ": give an address of this machine, with a port that is free");
  }

  LibraryLog log_;
  OipService service_;
  HealthService health_;
  MissingCalls missing_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> urls_;
  bool is_drained_ = false;
};

GrpcServer::GrpcServer(const GrpcOptions& options, const Models* models, Pool* pool, OipStatistics* statistics,
                       Observer* observer)
    : impl_(std::make_unique<Impl>(options, models, pool, statistics, observer)) {}

GrpcServer::~GrpcServer() = default;

const std::vector<std::string>& GrpcServer::urls() const { return impl_->urls(); }

int64_t GrpcServer::drain(double timeout) { return impl_->drain(timeout); }

}  // namespace recblr::server
