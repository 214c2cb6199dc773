#include "engine/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/error.h"
#include "batching/failure.h"

namespace recblr {
namespace {

int64_t checked_k(int64_t k, int64_t n_items) {
  if (k == 0) return std::min(kDefaultK, n_items);
  if (k < 1) {
    refuse(Code::kInvalidArgument,
           "k is " + std::to_string(k) + ": give a whole number from 1 to " + std::to_string(n_items));
  }
  if (k > n_items) {
    refuse(Code::kInvalidArgument, "k is " + std::to_string(k) + ", but the catalogue has " + std::to_string(n_items) +
                                       " items: ask for at most those");
  }
  return k;
}

// Sorts what lies in `items` from `begin` on, each once.
void sort_from(int64_t begin, std::vector<int32_t>* items) {
  const auto first = items->begin() + begin;
  std::sort(first, items->end());
  items->erase(std::unique(first, items->end()), items->end());
}

// Appends a row's known ids and returns how many others there are.
int64_t append_row(const Vocabulary& vocabulary, const Ids& ids, int64_t row, const char* name,
                   std::vector<int32_t>* indices) {
  try {
    return vocabulary.encode_row(ids, row, indices);
  } catch (const Error& error) {
    refuse(error.code(), std::string(name) + "[" + std::to_string(row) + "]: " + error.what());
  }
}

// Refuses another number of rows than the request has, after what is wrong with any row's ids.
void check_rows(const Vocabulary& vocabulary, const Ids* ids, int64_t given, int64_t n_rows, const char* name,
                const char* advice, std::vector<int32_t>* scratch) {
  if (given == n_rows) return;
  for (int64_t b = 0; ids != nullptr && b < ids->n_rows; ++b) append_row(vocabulary, *ids, b, name, scratch);
  refuse(Code::kInvalidArgument,
         std::string(name) + " has " + std::to_string(given) + " rows for " + std::to_string(n_rows) + ": " + advice);
}

void encode_exclusions(const Request& request, const Vocabulary& vocabulary, Work* work) {
  const int64_t n_rows = work->n_rows;
  if (request.exclude != nullptr) {
    check_rows(vocabulary, request.exclude, request.exclude->n_rows, n_rows, "exclude",
               "give one list per row, or None", &work->exclude);
  }
  work->exclude.clear();
  work->exclude_offsets.assign(1, 0);
  for (int64_t b = 0; b < n_rows; ++b) {
    const int64_t begin = work->exclude_offsets.back();
    if (request.exclude != nullptr) append_row(vocabulary, *request.exclude, b, "exclude", &work->exclude);
    if (request.exclude_seen) {
      const int32_t* items = work->items.data();
      work->exclude.insert(work->exclude.end(), items + work->item_offsets[b], items + work->item_offsets[b + 1]);
    }
    sort_from(begin, &work->exclude);
    work->exclude_offsets.push_back(static_cast<int64_t>(work->exclude.size()));
  }
}

// The list of one entry of `only`; false where all items may be ranked. A list of ids is appended to work->only, which
// may move: it is given by its number, in `count`, and nullptr.
bool encode_entry(const Request& request, const std::shared_ptr<const Bundle>& bundle, int64_t entry, Work* work,
                  ItemList* list) {
  const Only& only = request.only;
  if (only.lists != nullptr && only.lists[entry] != nullptr) {
    work->held.push_back(only.lists[entry]->items(bundle));
    // An empty vector may have no data, and nullptr stands for a list of ids.
    static const int32_t kNoItem = 0;
    const std::vector<int32_t>& items = *work->held.back();
    *list = {items.empty() ? &kNoItem : items.data(), static_cast<int64_t>(items.size())};
    return true;
  }
  if (only.all != nullptr && only.all[entry] != 0) return false;
  const int64_t begin = work->only_offsets.back();
  if (only.ids != nullptr) {
    if (only.per_row) {
      append_row(bundle->vocabulary(), *only.ids, entry, "only", &work->only);
    } else {
      try {
        bundle->vocabulary().encode_row(*only.ids, entry, &work->only);
      } catch (const Error& error) {
        refuse(error.code(), std::string("only: ") + error.what());
      }
    }
  }
  sort_from(begin, &work->only);
  *list = {nullptr, static_cast<int64_t>(work->only_offsets.size()) - 1};
  work->only_offsets.push_back(static_cast<int64_t>(work->only.size()));
  return true;
}

void encode_only(const Request& request, const std::shared_ptr<const Bundle>& bundle, Work* work) {
  const Only& only = request.only;
  const auto n_rows = static_cast<size_t>(work->n_rows);
  work->only.clear();
  work->only_offsets.assign(1, 0);
  work->held.clear();
  work->allowed.clear();
  work->has_only.clear();
  if (only.n_entries == 0) return;
  if (only.per_row) {
    check_rows(bundle->vocabulary(), only.ids, only.n_entries, work->n_rows, "only",
               "give one list of item ids for all, or one per row", &work->only);
  }
  work->allowed.resize(n_rows);
  work->has_only.resize(n_rows);
  if (only.per_row) {
    for (size_t b = 0; b < n_rows; ++b) {
      work->has_only[b] = encode_entry(request, bundle, static_cast<int64_t>(b), work, &work->allowed[b]);
    }
  } else {
    ItemList list;
    const bool has_only = encode_entry(request, bundle, 0, work, &list);
    std::fill(work->allowed.begin(), work->allowed.end(), list);
    std::fill(work->has_only.begin(), work->has_only.end(), static_cast<uint8_t>(has_only));
  }
  for (size_t b = 0; b < n_rows; ++b) {
    ItemList& list = work->allowed[b];
    if (!work->has_only[b] || list.items != nullptr) continue;
    const auto number = static_cast<size_t>(list.count);
    const int64_t begin = work->only_offsets[number];
    list = {work->only.data() + begin, work->only_offsets[number + 1] - begin};
  }
}

void check_states(const float* states, int64_t n_rows, int64_t state_size) {
  // One pass that compilers vectorise: an exponent of ones is that of infinities and NaN.
  constexpr uint32_t kExponent = 0x7f800000;
  const int64_t n = n_rows * state_size;
  uint32_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, states + i, sizeof bits);
    found |= static_cast<uint32_t>((bits & kExponent) == kExponent);
  }
  if (found == 0) return;
  const int64_t i = std::find_if_not(states, states + n, [](float x) { return std::isfinite(x); }) - states;
  const char* value = std::isnan(states[i]) ? "nan" : states[i] > 0 ? "inf" : "-inf";
  refuse(Code::kInvalidArgument, "states[" + std::to_string(i / state_size) + "][" + std::to_string(i % state_size) +
                                     "] is " + value + ", not a finite float32: use None for a new user");
}

}  // namespace

void encode_rows(const Vocabulary& vocabulary, const Ids& ids, const char* name, std::vector<int32_t>* indices,
                 std::vector<int64_t>* offsets, std::vector<int64_t>* unknown) {
  indices->clear();
  offsets->assign(1, 0);
  if (unknown != nullptr) unknown->clear();
  for (int64_t b = 0; b < ids.n_rows; ++b) {
    const int64_t skipped = append_row(vocabulary, ids, b, name, indices);
    if (unknown != nullptr) unknown->push_back(skipped);
    offsets->push_back(static_cast<int64_t>(indices->size()));
  }
}

void encode_request(const Request& request, const std::shared_ptr<const Bundle>& bundle, Work* work) {
  const Vocabulary& vocabulary = bundle->vocabulary();
  work->n_rows = request.items->n_rows;
  work->k = checked_k(request.k, bundle->n_items());
  if (request.timeout) check_timeout(*request.timeout, Code::kInvalidArgument);
  encode_rows(vocabulary, *request.items, request.items_name, &work->items, &work->item_offsets, &work->unknown);
  encode_exclusions(request, vocabulary, work);
  encode_only(request, bundle, work);
  if (request.states != nullptr) check_states(request.states, work->n_rows, bundle->state_size());
  work->states = request.states;
  work->new_states = request.new_states;
}

}  // namespace recblr
