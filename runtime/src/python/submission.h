// Requests that a worker of the library answers, while Python waits in a thread or in an event loop.
#pragma once

#include <nanobind/nanobind.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "python/answer.h"
#include "recblr/recblr.h"

namespace recblr::python {

namespace nb = nanobind;

class Finished;

// One request. It holds nothing of Python's, so that a worker may be the last to let go of it.
struct Submission {
  Result result;
  std::vector<float> states, new_states;  // [B * S], or empty
  std::shared_ptr<Finished> finished;     // where it goes once it is done, or none
  int64_t number = 0;                     // in there
  uint64_t ticket = 0;

  std::mutex mutex;
  std::condition_variable changed;
  bool is_done = false;
  recblr_status status = RECBLR_OK;
  std::string message;
};

// Has the library answer; raises what is wrong with the request. Both must be held until it is done.
void submit(recblr_engine* engine, recblr_request* request, const std::shared_ptr<Submission>& submission);

// Waits in the main thread, in which Python's signal handlers run; withdraws the request where one of them raises.
void wait(recblr_engine* engine, Submission* submission);

// Submissions that are done, for one event loop: `descriptor` is readable while there are some. Workers only write to
// it, and need nothing of the interpreter.
class Finished {
 public:
  Finished();
  ~Finished();
  Finished(const Finished&) = delete;
  Finished& operator=(const Finished&) = delete;

  int descriptor() const { return descriptor_; }
  void add(std::shared_ptr<Submission> submission);
  // All that are there.
  std::vector<std::shared_ptr<Submission>> take();

 private:
  int descriptor_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Submission>> submissions_;
};

}  // namespace recblr::python
