// What Prometheus reads at GET /metrics.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/model/models.h"
#include "server/observe/record.h"

namespace recblr::server {

// Threads may share it.
class Metrics {
 public:
  // Tells of `models`, which must outlive it.
  explicit Metrics(const Models& models);
  ~Metrics();

  void add(const RequestRecord& record);
  void add(const ModelEvent& event);
  // A model that is about to be: what it counted since somebody read is not lost.
  void freed(const ServedModel& model);
  // Something else to be told of: `value` is asked whenever somebody reads. Before the first reader.
  void add_gauge(std::string name, std::string help, std::function<double()> value);
  void add_counter(std::string name, std::string help, std::function<double()> value);

  // In Prometheus' text format. Takes about a millisecond.
  std::string text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace recblr::server
