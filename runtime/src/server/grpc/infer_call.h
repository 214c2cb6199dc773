// One call of ModelInfer.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string_view>
#include <vector>

#include "inference.pb.h"
#include "server/grpc/call.h"
#include "server/model/served_model.h"
#include "server/oip/routes.h"
#include "server/oip/statistics.h"
#include "server/work/pool.h"

namespace recblr::server {

// What all calls use; it outlives them.
struct InferShared {
  Pool* pool;
  OipStatistics* statistics;
  OipOptions options;
  std::atomic<int64_t> calls{0};  // that are not answered yet
  std::atomic<int64_t> open{0};   // that gRPC is not done with: answers may not be sent yet
  // When the server ends, and how many calls it withdrew then.
  std::atomic<std::chrono::system_clock::time_point> end{std::chrono::system_clock::time_point::max()};
  std::atomic<int64_t> dropped{0};
};

// Lives until gRPC is done with the call and the engine with the question. Large messages are read and written in the
// pool, since other calls would wait for them.
class InferCall : public grpc::ServerUnaryReactor, public std::enable_shared_from_this<InferCall> {
 public:
  // Begins to answer; the caller has counted it in shared->calls. The arguments are the call's, and its model.
  static grpc::ServerUnaryReactor* begin(grpc::CallbackServerContext* context,
                                         const inference::ModelInferRequest* request,
                                         inference::ModelInferResponse* response, ServedModelPtr model,
                                         CallRecord record, InferShared* shared);
  InferCall(grpc::CallbackServerContext* context, const inference::ModelInferRequest* request,
            inference::ModelInferResponse* response, ServedModelPtr model, CallRecord record, InferShared* shared);

 private:
  void OnCancel() override;
  void OnDone() override;

  void start();
  void ask();
  Expected<void> submit();
  void finish(const Expected<void>& done);
  void write();
  void fail(const Failure& failure);
  // Behind it nothing of the call may be touched.
  void end(const CallEnd& end);
  // Runs `step`; what it throws ends the call.
  template <typename Step>
  void guarded(const Step& step);

  const inference::ModelInferRequest* const request_;
  inference::ModelInferResponse* const response_;
  const ServedModelPtr model_;
  CallRecord record_;
  InferShared* const shared_;
  const std::chrono::system_clock::time_point deadline_;
  std::unique_ptr<serving::Question> question_;
  std::vector<std::string_view> outputs_;
  // Either of both is seen by whoever sets the other: then the question is withdrawn.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<bool> is_cancelled_{false}, is_dropped_{false};  // dropped: by the server, as it ends
  std::shared_ptr<InferCall> self_;                            // until gRPC is done
};

}  // namespace recblr::server
