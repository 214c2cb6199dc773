#include "python/raised.h"

#include "python/errors.h"

namespace recblr::python {
namespace {

constexpr size_t kMostRaised = 32;

bool is_interrupt(nb::handle exception) { return !nb::isinstance(exception, nb::handle(PyExc_Exception)); }

// A NUL would end the words on their way through the library.
std::string without_nul(const std::string& words) {
  std::string escaped;
  for (const char c : words) {
    if (c == '\0') {
      escaped += "\\x00";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace

recblr_status Raised::remember(nb::handle exception, recblr_status otherwise, const std::string& message) {
  const recblr_status own = status_of(exception);
  std::string words = own == RECBLR_OK ? message : utf8_of(nb::str(exception));
  if (words.empty()) words = name_of_type(exception);
  const recblr_status status = own != RECBLR_OK ? own : is_interrupt(exception) ? RECBLR_CANCELLED : otherwise;
  recblr_set_error(status, without_nul(words).c_str());
  One raised{recblr_last_error(), nb::borrow(exception), PyThread_get_thread_ident(), otherwise};
  const std::string said = raised.message;
  {
    std::deque<One> dropped;  // their objects go without the lock
    const std::lock_guard<std::mutex> lock(mutex_);
    latest_.push_front(std::move(raised));
    while (latest_.size() > kMostRaised) {
      dropped.push_back(std::move(latest_.back()));
      latest_.pop_back();
    }
  }
  return recblr_set_error(status, said.c_str());  // anything may have been said as those went
}

nb::object Raised::exception_of(recblr_status status, const std::string& message) const {
  nb::object cause;
  bool is_of_this_thread = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const One& raised : latest_) {
      if (raised.message != message) continue;
      cause = raised.exception;
      is_of_this_thread = raised.thread == PyThread_get_thread_ident();
      if (is_interrupt(cause)) status = raised.otherwise;  // where another thread was meant
      break;
    }
  }
  if (cause.is_valid() && ((is_interrupt(cause) && is_of_this_thread) || status_of(cause) != RECBLR_OK)) return cause;
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

// Without the lock, which a thread that the collection stops may hold.
int Raised::visit(const Visitor& visitor) const {
  for (const One& raised : latest_) {
    if (const int stop = visitor(raised.exception)) return stop;
  }
  return 0;
}

}  // namespace recblr::python
