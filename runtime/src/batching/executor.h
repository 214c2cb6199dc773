// Has rows run by a backend: at once in the caller's thread, or merged with those of others.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>

#include "backends/backend.h"

namespace recblr {

// Called once with nullptr, or with why there is no answer: an Error that nobody else has. In any thread; must not
// throw.
using Done = std::function<void(std::exception_ptr error)>;

// A request that was submitted; see Executor::submit.
using Ticket = uint64_t;

// Rows of any number and length may be given: what is larger than the backend's limits is split, and a row longer than
// the limit of tokens is fed in pieces of exactly that size, through its state, whatever else runs. Threads may share
// one.
class Executor {
 public:
  virtual ~Executor() = default;

  // Runs rows and returns when all are done. Throws Error; none of the outputs is then to be used. `timeout` is in
  // seconds, for the wait before the last part starts to run; nullopt for the executor's own.
  virtual void run(const Row* rows, int64_t n_rows, std::optional<double> timeout = std::nullopt) = 0;

  // Runs rows in this thread where that needs no waiting; false, and nothing was done, where it does. Throws as `run`.
  virtual bool run_now(const Row* rows, int64_t n_rows) = 0;

  // The same as `run` without waiting. The rows, which are copied, point to memory that must stay until `done` was
  // called. Throws Error(kOverloaded, kClosed, kFork, kInvalidArgument), and then `done` is not called. With
  // `may_run_here` the rows may be run, and `done` be called, before this returns, where that is soonest: for callers
  // who may wait for that long.
  virtual Ticket submit(const Row* rows, int64_t n_rows, Done done, std::optional<double> timeout = std::nullopt,
                        bool may_run_here = false) = 0;

  // Withdraws a request whose `done` was not called yet; it is called with Error(kCancelled), before this returns or,
  // where a part of it runs just now and writes to its memory, once that has ended. False where it is done already.
  virtual bool cancel(Ticket ticket) = 0;

  // What runs the model and how, for people.
  virtual std::string description() const = 0;

  // Takes no more requests. With `drain` those taken are still answered, else those that do not run yet fail with
  // Error(kClosed). Returns when nothing runs any more, or after `timeout` seconds, when the rest has failed, too. Safe
  // to call again.
  virtual void close(bool drain, std::optional<double> timeout) = 0;
};

}  // namespace recblr
