// Frees models where nobody waits for it.
#pragma once

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

 private:
  struct Queue;
  const std::shared_ptr<Queue> queue_;
  std::thread thread_;
};

}  // namespace recblr::server
