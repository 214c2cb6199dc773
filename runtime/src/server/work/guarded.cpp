#include "server/work/guarded.h"

#include <exception>
#include <new>

namespace recblr::server {

void guarded(const std::function<void()>& work, const Fail& fail) {
  try {
    work();
  } catch (const Error& error) {
    fail({error.status(), error.what()});
  } catch (const std::bad_alloc&) {
    fail({Status::kOutOfMemory, "out of memory"});
  } catch (const std::exception& error) {
    fail({Status::kInternal, error.what()});
  }
}

}  // namespace recblr::server
