// Frees models where nobody waits for it.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "server/model/served_model.h"

namespace recblr::server {

// Freeing a model ends its engine's threads, which takes a moment, and cannot be done in one of them: the last request
// that holds a model may end just there. So that is done in a thread of this object.
class Disposal {
 public:
  Disposal();
  ~Disposal();  // once what was let go is freed; models let go later are freed where that happens

  ServedModelPtr owned(std::unique_ptr<const ServedModel> model);
  // Calls `told` with each model before that thread frees it; after this returns, no other one any more.
  void on_free(std::function<void(const ServedModel&)> told);

 private:
  struct Queue;
  const std::shared_ptr<Queue> queue_;
  std::thread thread_;
};

}  // namespace recblr::server
