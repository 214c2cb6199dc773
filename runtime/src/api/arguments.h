// Checks and reads the structures of recblr.h, of this version, an older or a newer one.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/ids.h"
#include "recblr/recblr.h"

namespace recblr::api {

// How much of a structure is to be read, from its struct_size; `size` is this version's and `least` what is needed at
// least. Throws Error(kInvalidArgument) for a size that no version has, and Error(kUnsupported) where a newer version's
// fields are set.
size_t checked_size(const void* given, const char* name, size_t size, size_t least);

// A copy of a structure whose first field is struct_size: fields that the caller's version does not have are 0.
template <typename Struct>
Struct read_struct(const Struct* given, const char* name, size_t least = sizeof(size_t)) {
  const size_t size = checked_size(given, name, sizeof(Struct), least);
  Struct read{};
  std::memcpy(&read, given, size);
  return read;
}

// Writes a structure whose first field is struct_size to the caller's, of that size; what is beyond becomes 0.
void write_struct(void* to, const char* name, const void* from, size_t size);

// Throws Error(kInvalidArgument) for a negative number of things: "n is -1: give 0 or more".
void check_count(int64_t n, const char* name = "n");

// Ids whose offsets, arrays and strangers are checked; throws Error(kInvalidArgument). `strangers` holds those of what
// is returned.
Ids checked_ids(const recblr_ids& ids, const char* name, std::vector<Strangers>* strangers);

}  // namespace recblr::api
