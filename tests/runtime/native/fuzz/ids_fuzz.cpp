// Ids of one row, cut from the input at each newline: what encode_row makes of them is what each of them is.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "bundle/vocabulary.h"

namespace {

using recblr::Ids;
using recblr::IdType;
using recblr::Vocabulary;

const auto kIntegers = Vocabulary::parse(
    R"({"id_type": "integer", "ids": [7, 0, -1, 9223372036854775807, -9223372036854775808], "counts": [1, 1, 1, 1, 1]})",
    "");
const auto kFewIntegers = Vocabulary::parse(R"({"id_type": "integer", "ids": [7, 0, -1], "counts": [1, 1, 1]})", "");
const auto kStrings =
    Vocabulary::parse(R"({"id_type": "string", "ids": ["a", "", "7", "ü"], "counts": [1, 1, 1, 1]})", "");

void check(const Vocabulary& vocabulary, const Ids& ids) {
  std::vector<int32_t> expected, found;
  bool can_all_be = true;
  for (int64_t j = 0; j < ids.count(); ++j) {
    const bool is_text = ids.type == IdType::kString;
    const int32_t index = is_text ? vocabulary.index(ids.string(j)) : vocabulary.index(ids.integers[j]);
    if (index != 0) expected.push_back(index);
    const bool can_be = !is_text || vocabulary.can_be_id(ids.string(j));
    if (index != 0 && !can_be) abort();
    can_all_be = can_all_be && can_be;
  }
  try {
    const int64_t skipped = vocabulary.encode_row(ids, 0, &found);
    if (found != expected || skipped != ids.count() - static_cast<int64_t>(found.size())) abort();
    if (expected.empty() && (!can_all_be || ids.n_strangers > 0)) abort();
  } catch (const recblr::Error& error) {
    if (error.code() != recblr::Code::kInvalidArgument || !expected.empty()) abort();
    if (can_all_be && ids.n_strangers == 0) abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text;
  std::vector<int64_t> text_offsets{0}, integers;
  for (size_t i = 0; i < size; ++i) {
    if (data[i] != '\n') text += static_cast<char>(data[i]);
    if (data[i] != '\n' && i + 1 < size) continue;
    integers.push_back(text_offsets.back() * (text.empty() || text.back() % 2 != 0 ? -1 : 1));
    text_offsets.push_back(static_cast<int64_t>(text.size()));
  }
  const int64_t offsets[] = {0, static_cast<int64_t>(integers.size())};
  const recblr::Strangers strangers{0, 2, offsets[1] / 2, "None", "NoneType", nullptr};
  Ids ids;
  ids.n_rows = 1;
  ids.offsets = offsets;
  ids.integers = integers.data();
  ids.text = text.data();
  ids.text_offsets = text_offsets.data();
  for (const Vocabulary* vocabulary : {kIntegers.get(), kFewIntegers.get(), kStrings.get()}) {
    for (const IdType type : {IdType::kInteger, IdType::kString}) {
      ids.type = type;
      check(*vocabulary, ids);
    }
  }
  ids.strangers = &strangers;
  ids.n_strangers = 1;
  std::vector<int32_t> found;
  try {
    kStrings->encode_row(ids, 0, &found);
  } catch (const recblr::Error& error) {
    if (error.code() != recblr::Code::kInvalidArgument || !found.empty()) abort();
  }
  return 0;
}
