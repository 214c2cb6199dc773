#include "server/end_guard.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

namespace recblr::server {

namespace {

constexpr double kFlush = 0.2;  // seconds for the last lines
constexpr double kSameSignal =
    1;  // seconds in which another one is the first, as it is sent to a process and its group
constexpr int kStatusOfSignal = 128;  // as shells count

double passed_since(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
}

}  // namespace

EndGuard::EndGuard(Signals* signals, Observation* observation, double timeout)
    : signals_(signals), observation_(observation), thread_([this, timeout] { watch(timeout); }) {}

EndGuard::~EndGuard() {
  is_over_ = true;
  signals_->wake();
  thread_.join();
}

void EndGuard::watch(double timeout) {
  const auto began = std::chrono::steady_clock::now();
  Log& log = observation_->log();
  while (true) {
    const double left = std::max(0.0, timeout - passed_since(began));
    const int signal = signals_->wait(left);
    if (is_over_) return;
    const bool is_told = (signal == SIGTERM || signal == SIGINT) && passed_since(began) >= kSameSignal;
    const bool is_late = signal == 0 && left == 0;
    if (const int status = status_; (is_told || is_late) && status >= 0) std::_Exit(status);
    if (is_told) {
      log.write(LogLevel::kWarning, "stop", "told to end again: requests under way are left");
      observation_->flush(kFlush);
      std::_Exit(kStatusOfSignal + signal);
    }
    if (is_late) {
      log.write(LogLevel::kWarning, "stop", "the time to drain is over: requests under way are left",
                {{"drain_timeout", timeout}});
      observation_->flush(kFlush);
      std::_Exit(1);
    }
  }
}

}  // namespace recblr::server
