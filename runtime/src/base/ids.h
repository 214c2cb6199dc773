// Ids as callers give them: ragged rows of integers or of UTF-8 strings. Views; nothing is owned.
#pragma once

#include <cstdint>
#include <string_view>

namespace recblr {

enum class IdType : int32_t { kInteger = 0, kString = 1 };

// Values of a row that are no ids at all, such as None or 1.0 in Python. They are counted as unknown, and an error
// where the row has no known id.
struct Strangers {
  int64_t row;
  int64_t count;
  int64_t before;      // ids of the row before the first of them
  const char* shown;   // the first of them, for a message: "1.0"
  const char* type;    // its type, for a message: "float"
  const char* advice;  // what to give in its place; NULL for the vocabulary's own words
};

// Row b has the ids offsets[b] to offsets[b + 1] - 1. An integer and the text of its canonical decimal form are one
// id: 25 and "25", but not "025", "+25" or " 25".
struct Ids {
  IdType type = IdType::kInteger;
  int64_t n_rows = 0;
  const int64_t* offsets = nullptr;       // [n_rows + 1], from 0, not falling
  const int64_t* integers = nullptr;      // kInteger: [offsets[n_rows]]
  const char* text = nullptr;             // kString: all strings, one after another, not terminated
  const int64_t* text_offsets = nullptr;  // kString: [offsets[n_rows] + 1]; string j is text[text_offsets[j]] and on
  const Strangers* strangers = nullptr;   // [n_strangers], rows ascending, at most one for each row
  int64_t n_strangers = 0;

  int64_t count() const { return n_rows == 0 ? 0 : offsets[n_rows]; }
  std::string_view string(int64_t j) const {
    return {text + text_offsets[j], static_cast<size_t>(text_offsets[j + 1] - text_offsets[j])};
  }
};

}  // namespace recblr
