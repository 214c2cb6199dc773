// What the engines of all models that were served have counted.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "recblr/recblr.hpp"
#include "server/model/served_model.h"

namespace recblr::server {

// An engine counts from 0, so that counters would fall when another model takes over. Threads may share it.
class EngineTotals {
 public:
  // Adds what a model's engine counts to the totals from now on.
  void add(const ServedModelPtr& model);
  // Adds what it counted since, for the last time: it is about to be freed.
  void count_last(const ServedModel& model);
  // Counts are those of all models; what is said of now, such as queued_rows, of those that still answer.
  recblr_metrics now();

 private:
  struct Counted {
    std::weak_ptr<const ServedModel> model;
    recblr_metrics last{};
  };

  void count(const ServedModel& model, Counted* counted);

  std::mutex mutex_;
  std::map<const ServedModel*, Counted> counted_;
  recblr_metrics totals_{};
};

}  // namespace recblr::server
