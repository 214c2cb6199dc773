#include "python/raised.h"

#include "python/errors.h"

namespace recblr::python {
namespace {

constexpr size_t kMostRaised = 8;

}  // namespace

recblr_status Raised::remember(nb::handle exception, recblr_status otherwise, const std::string& message) {
  const recblr_status own = status_of(exception);
  const std::string words = own == RECBLR_OK ? message : utf8_of(nb::str(exception));
  std::deque<One> dropped;  // their objects go without the lock
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    latest_.push_front({words, nb::borrow(exception), PyThread_get_thread_ident()});
    while (latest_.size() > kMostRaised) {
      dropped.push_back(std::move(latest_.back()));
      latest_.pop_back();
    }
  }
  return recblr_set_error(own == RECBLR_OK ? otherwise : own, words.c_str());
}

nb::object Raised::exception_of(recblr_status status, const std::string& message) const {
  nb::object cause;
  bool same_thread = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const One& raised : latest_) {
      if (raised.message != message) continue;
      cause = raised.exception;
      same_thread = raised.thread == PyThread_get_thread_ident();
      break;
    }
  }
  if (cause.is_valid()) {
    const bool is_interrupt = !nb::isinstance(cause, nb::handle(PyExc_Exception)) && same_thread;
    if (is_interrupt || status_of(cause) != RECBLR_OK) return cause;
  }
  nb::object exception = python::exception_of(status, message);
  if (cause.is_valid()) PyException_SetCause(exception.ptr(), cause.release().ptr());
  return exception;
}

bool Raised::knows(const std::string& message) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const One& raised : latest_) {
    if (raised.message == message) return true;
  }
  return false;
}

void Raised::forget() {
  std::deque<One> dropped;
  const std::lock_guard<std::mutex> lock(mutex_);
  dropped.swap(latest_);
}

}  // namespace recblr::python
