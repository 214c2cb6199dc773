// A reload for which memory is missing.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#include "server/model/models.h"
#include "tiny_bundle.h"

// Sanitizers have their own operator new.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {
thread_local int64_t left = -1;  // allocations of this thread until one fails; below 0: none does
}

void* operator new(size_t size) {
  if (left >= 0 && left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size > 0 ? size : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace recblr::server {
namespace {

TEST(ModelsMemory, AReloadThatFindsNoneHasFailedAndTheModelStays) {
  const tests::TemporaryFolder folder;
  write_bundle(tests::TinyBundle(), folder.path());
  ModelOptions options;
  options.path = folder.path();
  options.engine.batching = Batching{};
  Models models(options);
  int64_t failed = 0;
  models.on_event([&](const ModelEvent& event) { failed += event.kind == ModelEvent::Kind::kReloadFailed; });
  models.load();
  const ServedModelPtr before = models.current();
  for (int64_t n = 0; n < 3; ++n) {  // the first allocations, those of paths
    left = n;
    const Expected<ServedModelPtr> changed = models.reload();
    left = -1;
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().status, Status::kOutOfMemory) << changed.error().message;
    EXPECT_EQ(failed, n + 1);
    EXPECT_EQ(models.current(), before);
  }
  EXPECT_TRUE(models.reload());
}

}  // namespace
}  // namespace recblr::server

#endif
