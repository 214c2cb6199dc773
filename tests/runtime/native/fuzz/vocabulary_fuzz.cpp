// items.json: an Error of one line, or a vocabulary that finds each of its ids.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "bundle/vocabulary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto vocabulary =
        recblr::Vocabulary::parse(std::string_view(reinterpret_cast<const char*>(data), size), "items.json");
    const int32_t n_items = static_cast<int32_t>(vocabulary->n_items());
    for (int32_t index = 1; index <= n_items; ++index) {
      if (vocabulary->type() == recblr::IdType::kInteger) {
        const int64_t id = vocabulary->integer(index);
        if (vocabulary->index(id) != index || vocabulary->index(std::to_string(id)) != index) abort();
      } else if (vocabulary->index(vocabulary->string(index)) != index) {
        abort();
      }
    }
    std::vector<int32_t> popular = vocabulary->popular();
    for (size_t i = 1; i < popular.size(); ++i) {
      const int64_t before = vocabulary->count(popular[i - 1]), count = vocabulary->count(popular[i]);
      if (before < count || (before == count && popular[i - 1] > popular[i])) abort();
    }
    std::sort(popular.begin(), popular.end());
    for (int32_t index = 1; index <= n_items; ++index) {
      if (popular[static_cast<size_t>(index) - 1] != index) abort();
    }
  } catch (const recblr::Error& error) {
    if (error.code() != recblr::Code::kBundle) abort();
  }
  return 0;
}
