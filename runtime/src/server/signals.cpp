#include "server/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <system_error>

namespace recblr::server {

namespace {

int opened(int file, const char* what) {
  if (file < 0) throw std::system_error(errno, std::generic_category(), what);
  return file;
}

}  // namespace

Signals::Signals() {
  sigset_t told_by;
  sigemptyset(&told_by);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&told_by, number);
  pthread_sigmask(SIG_BLOCK, &told_by, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signals_ = opened(signalfd(-1, &told_by, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
  woken_ = opened(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
}

Signals::~Signals() {
  close(signals_);
  close(woken_);
}

int Signals::wait(double timeout) {
  constexpr double kLongest = 1e6;  // seconds, that poll takes
  const int milliseconds = timeout < 0 ? -1 : static_cast<int>(std::ceil(std::min(timeout, kLongest) * 1e3));
  pollfd files[] = {{signals_, POLLIN, 0}, {woken_, POLLIN, 0}};
  while (poll(files, 2, milliseconds) < 0 && errno == EINTR) {
  }
  signalfd_siginfo told;
  if (read(signals_, &told, sizeof told) == sizeof told) return static_cast<int>(told.ssi_signo);
  uint64_t count;
  static_cast<void>(!read(woken_, &count, sizeof count));
  return 0;
}

void Signals::wake() {
  const uint64_t one = 1;
  static_cast<void>(!write(woken_, &one, sizeof one));
}

}  // namespace recblr::server
