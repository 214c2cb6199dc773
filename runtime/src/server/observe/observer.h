// Who is told of every request, once it is answered: metrics, log and traces.
#pragma once

#include <memory>

#include "server/observe/record.h"

namespace recblr::server {

class Observer {
 public:
  virtual ~Observer() = default;
  // Called from many threads, once per request.
  virtual void finished(const RequestRecord& record) = 0;
};

}  // namespace recblr::server
