#include "api/arguments.h"

#include "api/guard.h"
#include "base/error.h"

namespace recblr::api {
namespace {

constexpr size_t kLargestStruct = 4096;  // of any version

[[noreturn]] void refuse_argument(const std::string& message) { throw Error(Code::kInvalidArgument, message); }

size_t struct_size(const void* given, const char* name) {
  not_null(given, name);
  size_t size;
  std::memcpy(&size, given, sizeof size);
  if (size < sizeof size || size > kLargestStruct || size % sizeof size != 0) {
    refuse_argument(std::string(name) + ".struct_size is " + std::to_string(size) +
                    ": set it to sizeof of the structure");
  }
  return size;
}

// Messages are put together only where they are needed: a good request takes no memory.
void check_there(const void* array, const char* name, const char* field) {
  if (array == nullptr) refuse_argument(std::string(name) + "." + field + " is NULL");
}

// Offsets [n+1] that begin at 0 or above and do not fall.
void check_offsets(const int64_t* offsets, int64_t n, const char* name, const char* field) {
  check_there(offsets, name, field);
  int64_t last = 0;
  for (int64_t j = 0; j <= n; ++j) {
    if (offsets[j] < last) {
      refuse_argument(std::string(name) + "." + field + "[" + std::to_string(j) + "] is " + std::to_string(offsets[j]) +
                      " after " + std::to_string(last) + ": give offsets from 0 that do not fall");
    }
    last = offsets[j];
  }
}

void read_strangers(const recblr_ids& ids, const char* name, std::vector<Strangers>* strangers) {
  if (ids.n_strangers < 0 || ids.n_strangers > ids.n_rows) {
    refuse_argument(std::string(name) + ".n_strangers is " + std::to_string(ids.n_strangers) + " for " +
                    std::to_string(ids.n_rows) + " rows: give one for a row at most");
  }
  if (ids.n_strangers > 0) check_there(ids.strangers, name, "strangers");
  int64_t last_row = -1;
  for (int64_t j = 0; j < ids.n_strangers; ++j) {
    const recblr_strangers& given = ids.strangers[j];
    const auto refuse_this = [name, j](const std::string& message) {
      refuse_argument(std::string(name) + ".strangers[" + std::to_string(j) + "]" + message);
    };
    if (given.row <= last_row || given.row >= ids.n_rows) {
      refuse_this(".row is " + std::to_string(given.row) + " of " + std::to_string(ids.n_rows) +
                  ": give rows in ascending order");
    }
    last_row = given.row;
    const int64_t n_ids = ids.offsets[given.row + 1] - ids.offsets[given.row];
    if (given.count < 1 || given.before < 0 || given.before > n_ids) {
      refuse_this(" has count " + std::to_string(given.count) + " and before " + std::to_string(given.before) +
                  " in a row of " + std::to_string(n_ids) + " ids: give a count from 1, and before up to those ids");
    }
    if (given.shown == nullptr || given.type == nullptr) refuse_this(": shown or type is NULL");
    strangers->push_back({given.row, given.count, given.before, given.shown, given.type, given.advice});
  }
}

}  // namespace

size_t checked_size(const void* given, const char* name, size_t size, size_t least) {
  const size_t caller_size = struct_size(given, name);
  if (caller_size < least) {
    refuse_argument(std::string(name) + ".struct_size is " + std::to_string(caller_size) + ": it is at least " +
                    std::to_string(least));
  }
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (size_t i = size; i < caller_size; ++i) {
    if (bytes[i] != 0) {
      refuse(Code::kUnsupported, std::string(name) + " sets a field that version " + RECBLR_VERSION +
                                     " of the library does not have: use a newer library");
    }
  }
  return std::min(caller_size, size);
}

void write_struct(void* to, const char* name, const void* from, size_t size) {
  const size_t caller_size = struct_size(to, name);
  auto* bytes = static_cast<unsigned char*>(to);
  const auto* source = static_cast<const unsigned char*>(from);
  const size_t known = std::min(caller_size, size);
  std::copy(source + sizeof(size_t), source + known, bytes + sizeof(size_t));
  std::fill(bytes + known, bytes + caller_size, static_cast<unsigned char>(0));
}

void check_count(int64_t n, const char* name) {
  if (n < 0) refuse(Code::kInvalidArgument, std::string(name) + " is " + std::to_string(n) + ": give 0 or more");
}

Ids checked_ids(const recblr_ids& ids, const char* name, std::vector<Strangers>* strangers) {
  if (ids.type != RECBLR_INTEGER_IDS && ids.type != RECBLR_STRING_IDS) {
    refuse_argument(std::string(name) + ".type is " + std::to_string(ids.type) +
                    ": give RECBLR_INTEGER_IDS or RECBLR_STRING_IDS");
  }
  if (ids.n_rows < 0) {
    refuse_argument(std::string(name) + ".n_rows is " + std::to_string(ids.n_rows) + ": give 0 or more");
  }
  Ids checked;
  checked.type = static_cast<IdType>(ids.type);
  strangers->clear();
  if (ids.n_rows == 0) return checked;
  check_offsets(ids.offsets, ids.n_rows, name, "offsets");
  if (ids.offsets[0] != 0) {
    refuse_argument(std::string(name) + ".offsets[0] is " + std::to_string(ids.offsets[0]) + ": give 0");
  }
  const int64_t count = ids.offsets[ids.n_rows];
  if (count > 0 && ids.type == RECBLR_INTEGER_IDS) check_there(ids.integers, name, "integers");
  if (count > 0 && ids.type == RECBLR_STRING_IDS) {
    check_offsets(ids.text_offsets, count, name, "text_offsets");
    if (ids.text_offsets[count] > 0) check_there(ids.text, name, "text");
  }
  read_strangers(ids, name, strangers);
  checked.n_rows = ids.n_rows;
  checked.offsets = ids.offsets;
  checked.integers = ids.integers;
  checked.text = ids.text == nullptr ? "" : ids.text;
  checked.text_offsets = ids.text_offsets;
  checked.strangers = strangers->data();
  checked.n_strangers = ids.n_strangers;
  return checked;
}

}  // namespace recblr::api
