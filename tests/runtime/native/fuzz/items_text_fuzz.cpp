// Lists of item ids as text, as a database or a server may hold them: what is read is written again, and read the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "users/items_text.h"

namespace {

// The keys of a text's ids; nothing where it is no list.
std::vector<std::string> keys_of(std::string_view text) {
  std::vector<std::string> keys;
  recblr::ItemsReader reader(text);
  for (recblr::Id id; reader.next(&id);) keys.push_back(key_of(id));
  if (!reader.ended_well()) keys.clear();
  return keys;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> keys = keys_of({reinterpret_cast<const char*>(data), size});
  std::vector<recblr::Id> ids;
  for (const std::string& key : keys) ids.push_back(recblr::id_of_key(key));
  if (keys_of(recblr::items_text(ids.data(), static_cast<int64_t>(ids.size()))) != keys) std::abort();
  return 0;
}
