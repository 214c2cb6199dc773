// The protocol's calls, answered.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "inference.grpc.pb.h"
#include "server/grpc/call.h"
#include "server/grpc/grpc_server.h"
#include "server/grpc/infer_call.h"

namespace recblr::server {

class OipService : public inference::GRPCInferenceService::CallbackService {
 public:
  // What is given must outlive it.
  OipService(const GrpcOptions& options, const Models* models, Pool* pool, OipStatistics* statistics,
             Observer* observer);

  // Calls that are withdrawn from then on are the server's to answer for.
  void end_at(std::chrono::system_clock::time_point end) { shared_.end = end; }
  int64_t n_dropped() const { return shared_.dropped; }
  int64_t n_open() const { return shared_.open; }  // calls of ModelInfer, until their answers are sent

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* ServerLive(Context* context, const inference::ServerLiveRequest* request,
                      inference::ServerLiveResponse* response) override;
  Reactor* ServerReady(Context* context, const inference::ServerReadyRequest* request,
                       inference::ServerReadyResponse* response) override;
  Reactor* ModelReady(Context* context, const inference::ModelReadyRequest* request,
                      inference::ModelReadyResponse* response) override;
  Reactor* ServerMetadata(Context* context, const inference::ServerMetadataRequest* request,
                          inference::ServerMetadataResponse* response) override;
  Reactor* ModelMetadata(Context* context, const inference::ModelMetadataRequest* request,
                         inference::ModelMetadataResponse* response) override;
  Reactor* ModelInfer(Context* context, const inference::ModelInferRequest* request,
                      inference::ModelInferResponse* response) override;
  Reactor* ModelStatistics(Context* context, const inference::ModelStatisticsRequest* request,
                           inference::ModelStatisticsResponse* response) override;
  Reactor* RepositoryIndex(Context* context, const inference::RepositoryIndexRequest* request,
                           inference::RepositoryIndexResponse* response) override;

 private:
  // Answers a call at once: `fill` writes the response and says how it ended.
  template <typename Fill>
  Reactor* answer(Context* context, std::string_view route, Access access, const Fill& fill);

  const Models* const models_;
  const TokenCheck tokens_;
  const int64_t max_calls_;
  Observer* const observer_;
  InferShared shared_;
};

}  // namespace recblr::server
