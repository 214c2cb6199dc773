#include "server/grpc/service.h"

#include <utility>

#include "server/oip/model_lookup.h"
#include "serving/tensors.h"

namespace recblr::server {
namespace {

template <typename Tensors, typename Added>
void add_tensors(const Tensors& tensors, const Added& added) {
  for (const serving::TensorMetadata& tensor : tensors) {
    auto* const described = added();
    described->set_name(tensor.name.data(), tensor.name.size());
    described->set_datatype(name_of(tensor.type));
    for (const int64_t size : tensor.shape) described->add_shape(size);
  }
}

void set(const OipStatistics::Duration& from, inference::StatisticDuration* to) {
  to->set_count(static_cast<uint64_t>(from.count));
  to->set_ns(static_cast<uint64_t>(from.nanoseconds));
}

void set(const ServedModel& model, const OipStatistics::Snapshot& from, inference::ModelStatistics* to) {
  to->set_name(model.name);
  to->set_version(std::to_string(model.version));
  to->set_last_inference(static_cast<uint64_t>(from.last_inference));
  to->set_inference_count(static_cast<uint64_t>(from.inference_count));
  to->set_execution_count(static_cast<uint64_t>(from.compute_infer.count));
  inference::InferStatistics* const stats = to->mutable_inference_stats();
  set(from.success, stats->mutable_success());
  set(from.fail, stats->mutable_fail());
  set(from.queue, stats->mutable_queue());
  set(from.compute_input, stats->mutable_compute_input());
  set(from.compute_infer, stats->mutable_compute_infer());
  set(from.compute_output, stats->mutable_compute_output());
}

constexpr std::string_view kModelInfer = "/inference.GRPCInferenceService/ModelInfer";

}  // namespace

OipService::OipService(const GrpcOptions& options, const Models* models, Pool* pool, OipStatistics* statistics,
                       Observer* observer)
    : models_(models),
      tokens_(options.tokens),
      max_calls_(options.limits.max_concurrent),
      observer_(observer),
      shared_{pool, statistics, options.oip} {}

template <typename Fill>
OipService::Reactor* OipService::answer(Context* context, std::string_view route, Access access, const Fill& fill) {
  CallRecord record(context, route, observer_);
  CallEnd end = check_token(tokens_, *context, access);
  if (end.status.ok()) end = fill();
  record.end(end);
  Reactor* const reactor = context->DefaultReactor();
  reactor->Finish(end.status);
  return reactor;
}

OipService::Reactor* OipService::ServerLive(Context* context, const inference::ServerLiveRequest*,
                                            inference::ServerLiveResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/ServerLive", Access::kPublic, [&] {
    response->set_live(true);
    return CallEnd();
  });
}

OipService::Reactor* OipService::ServerReady(Context* context, const inference::ServerReadyRequest*,
                                             inference::ServerReadyResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/ServerReady", Access::kPublic, [&] {
    response->set_ready(models_->ready());
    return CallEnd();
  });
}

OipService::Reactor* OipService::ModelReady(Context* context, const inference::ModelReadyRequest* request,
                                            inference::ModelReadyResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/ModelReady", Access::kUser, [&] {
    const ModelLookup found = look_up(*models_, request->name(), request->version());
    response->set_ready(found.model != nullptr && models_->ready());
    return CallEnd();
  });
}

OipService::Reactor* OipService::ServerMetadata(Context* context, const inference::ServerMetadataRequest*,
                                                inference::ServerMetadataResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/ServerMetadata", Access::kUser, [&] {
    response->set_name("recblr");
    response->set_version(recblr_version());
    response->add_extensions("statistics");
    return CallEnd();
  });
}

OipService::Reactor* OipService::ModelMetadata(Context* context, const inference::ModelMetadataRequest* request,
                                               inference::ModelMetadataResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/ModelMetadata", Access::kUser, [&] {
    const ModelLookup found = look_up(*models_, request->name(), request->version());
    if (found.model == nullptr) return no_model_end(found);
    response->set_name(found.model->name);
    response->add_versions(std::to_string(found.model->version));
    response->set_platform("recblr");
    add_tensors(serving::input_metadata(found.model->bundle), [&] { return response->add_inputs(); });
    add_tensors(serving::output_metadata(found.model->bundle), [&] { return response->add_outputs(); });
    return CallEnd();
  });
}

OipService::Reactor* OipService::ModelInfer(Context* context, const inference::ModelInferRequest* request,
                                            inference::ModelInferResponse* response) {
  CallRecord record(context, kModelInfer, observer_);
  ServedModelPtr model;
  CallEnd end = check_token(tokens_, *context, Access::kUser);
  if (end.status.ok()) {
    ModelLookup found = look_up(*models_, request->model_name(), request->model_version());
    model = std::move(found.model);
    if (model == nullptr) end = no_model_end(found);
  }
  if (end.status.ok() && ++shared_.calls > max_calls_) {
    --shared_.calls;
    end = call_end({Status::kOverloaded, "too many requests are under way: try again later"});
  }
  if (end.status.ok()) {
    return InferCall::begin(context, request, response, std::move(model), std::move(record), &shared_);
  }
  record.end(end);
  Reactor* const reactor = context->DefaultReactor();
  reactor->Finish(end.status);
  return reactor;
}

OipService::Reactor* OipService::ModelStatistics(Context* context, const inference::ModelStatisticsRequest* request,
                                                 inference::ModelStatisticsResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/ModelStatistics", Access::kUser, [&] {
    const ServedModelPtr current = models_->current();
    const std::string name = request->name().empty() && current != nullptr ? current->name : request->name();
    const ModelLookup found = look_up(*models_, name, request->version());
    if (found.model == nullptr) return no_model_end(found);
    set(*found.model, shared_.statistics->of(*found.model), response->add_model_stats());
    return CallEnd();
  });
}

OipService::Reactor* OipService::RepositoryIndex(Context* context, const inference::RepositoryIndexRequest* request,
                                                 inference::RepositoryIndexResponse* response) {
  return answer(context, "/inference.GRPCInferenceService/RepositoryIndex", Access::kUser, [&] {
    const ServedModelPtr model = models_->current();
    const bool is_ready = models_->ready();
    if (model == nullptr || (request->ready() && !is_ready)) return CallEnd();
    auto* const entry = response->add_models();
    entry->set_name(model->name);
    entry->set_version(std::to_string(model->version));
    entry->set_state(is_ready ? "READY" : "UNAVAILABLE");
    return CallEnd();
  });
}

}  // namespace recblr::server
