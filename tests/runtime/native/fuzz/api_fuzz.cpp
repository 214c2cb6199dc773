// A request of any fields, malformed ones too, to an engine of a small bundle: an answer that holds what was asked for,
// or an error in one line.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "recblr/recblr.h"
#include "tiny_bundle.h"

namespace {

void check(bool is_right) {
  if (!is_right) abort();
}

class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  bool flag() { return byte() % 2 == 1; }
  int64_t small() { return static_cast<int8_t>(byte()); }
  template <typename Number>
  Number number() {
    Number value{};
    const size_t size = std::min(size_, sizeof value);
    std::memcpy(&value, data_, size);
    data_ += size;
    size_ -= size;
    return value;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

// Ids whose arrays are as long as any offset of one byte, so that what a check lets pass is memory of their own.
struct FuzzedIds {
  std::vector<int64_t> offsets, integers, text_offsets;
  std::vector<char> text;
  std::vector<recblr_strangers> strangers;
  recblr_ids ids{};

  explicit FuzzedIds(Input* input) {
    constexpr size_t kMost = 128;
    const uint8_t kinds = input->byte();
    ids.type = kinds % 4 == 3 ? static_cast<int32_t>(input->small()) : kinds % 2;
    ids.n_rows = kinds / 4 % 8 == 7 ? input->small() : kinds / 4 % 4;
    const bool is_rising = kinds < 200;
    const auto read_offsets = [&](size_t n, size_t read) {
      std::vector<int64_t> read_in(n, 0);
      for (size_t j = 1; j < std::min(n, read); ++j) {
        read_in[j] = is_rising ? std::min<int64_t>(read_in[j - 1] + input->byte() % 4, kMost - 1) : input->small();
      }
      for (size_t j = std::max<size_t>(1, read); j < n; ++j) read_in[j] = read_in[j - 1];
      return read_in;
    };
    offsets = read_offsets(kMost + 1, 5);
    integers.resize(kMost);
    text.resize(kMost);
    for (size_t j = 0; j < 12; ++j) integers[j] = input->flag() ? 10 * (input->byte() % 8) : input->number<int64_t>();
    for (size_t j = 0; j < 24; ++j) text[j] = static_cast<char>(input->byte());
    text_offsets = read_offsets(kMost + 1, 12);
    if (input->flag()) {
      strangers.push_back({input->small() % 4, input->small(), input->small(), "None", "NoneType", nullptr});
      ids.strangers = strangers.data();
      ids.n_strangers = input->flag() ? 1 : input->small() % 2;
    }
    ids.offsets = input->byte() % 16 == 1 ? nullptr : offsets.data();
    ids.integers = input->byte() % 16 == 1 ? nullptr : integers.data();
    ids.text = input->byte() % 16 == 1 ? nullptr : text.data();
    ids.text_offsets = input->byte() % 16 == 1 ? nullptr : text_offsets.data();
  }
};

struct Handles {
  recblr_bundle* bundle = nullptr;
  recblr_engine* engine = nullptr;
  recblr_result* result = nullptr;

  explicit Handles(bool has_string_ids) {
    const recblr::tests::TemporaryFolder folder;
    recblr::tests::TinyBundle tiny;
    tiny.has_string_ids = has_string_ids;
    recblr::tests::write_bundle(tiny, folder.path());
    recblr_engine_options options{};
    options.struct_size = sizeof options;
    options.threads = 1;
    check(recblr_bundle_open(folder.path().c_str(), &bundle) == RECBLR_OK);
    check(recblr_engine_create(bundle, &options, &engine) == RECBLR_OK);
    check(recblr_result_create(&result) == RECBLR_OK);
  }
  ~Handles() {
    recblr_result_free(result);
    recblr_engine_free(engine);
    recblr_bundle_free(bundle);
  }
};

void check_error(recblr_status status) {
  check(status > RECBLR_OK && status < RECBLR_INTERNAL);
  const std::string words = recblr_last_error();
  check(!words.empty() && words.find('\n') == std::string::npos);
}

void check_answer(const Handles& handles, const recblr_request& request) {
  const bool has_k = request.struct_size >= offsetof(recblr_request, k) + sizeof request.k;
  const int64_t most = has_k && request.k > 0 ? request.k : 10;
  check(recblr_result_n_rows(handles.result) == request.items.n_rows);
  for (int64_t b = 0; b < request.items.n_rows; ++b) {
    recblr_ranking ranking;
    check(recblr_result_row(handles.result, b, &ranking) == RECBLR_OK);
    check(ranking.count >= 0 && ranking.count <= most && ranking.unknown >= 0);
    std::vector<int32_t> items(ranking.indices, ranking.indices + ranking.count);
    for (int64_t j = 0; j < ranking.count; ++j) {
      check(!std::isnan(ranking.scores[j]) && (j == 0 || ranking.scores[j] <= ranking.scores[j - 1]));
      check(ranking.integers == nullptr || ranking.integers[j] == 10 * ranking.indices[j]);
      check(ranking.strings == nullptr || ranking.strings[j] == "item-" + std::to_string(ranking.indices[j]));
    }
    std::sort(items.begin(), items.end());
    check(std::adjacent_find(items.begin(), items.end()) == items.end());
    check(items.empty() || (items.front() >= 1 && items.back() <= 6));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Handles integers(false), strings(true);
  Input input(data, size);
  const uint8_t parts = input.byte();
  const Handles& handles = parts % 2 == 1 ? strings : integers;
  const FuzzedIds items(&input);
  struct {
    recblr_request request;
    uint8_t later[256];  // of callers newer than the library
  } newer{};
  recblr_request& request = newer.request;
  if (parts & 128) newer.later[input.byte() % 8] = input.byte();
  request.struct_size = sizeof request;
  if (parts & 2) {
    const uint8_t size = input.byte();
    request.struct_size = size % 8 == 7 ? size : sizeof request + 8 * (size % 16) - 64;
  }
  request.items = items.ids;
  request.k = input.flag() ? input.byte() % 7 : input.number<int64_t>();
  request.exclude_seen = static_cast<int32_t>(input.small() % 2);
  // As many states as an int8 of rows can ask for.
  std::vector<float> states, new_states;
  if (parts & 4) {
    states.resize(128 * 16);
    for (size_t j = 0; j < 40; ++j)
      states[j] = input.flag() ? static_cast<float>(input.small()) : input.number<float>();
    request.states = states.data();
  }
  if (parts & 8) {
    new_states.resize(128 * 16);
    request.new_states = input.byte() % 16 == 1 ? states.data() : new_states.data();
  }
  const FuzzedIds exclude(&input), only(&input), listed(&input);
  if (parts & 16) request.exclude = &exclude.ids;
  recblr_allow_list* list = nullptr;
  const recblr_status made = recblr_allow_list_create(&listed.ids, &list);
  if (made != RECBLR_OK) check_error(made);
  std::vector<const recblr_allow_list*> lists(128, nullptr);
  std::vector<uint8_t> all(128, 0);
  if (parts & 32) {
    request.only_per_row = input.flag();
    request.n_only = input.flag() ? input.small() : request.only_per_row ? request.items.n_rows : 1;
    for (size_t j = 0; j < 4; ++j) {
      lists[j] = input.flag() ? list : nullptr;
      all[j] = input.byte() % 2;
    }
    request.only_ids = input.byte() % 8 == 1 ? nullptr : &only.ids;
    request.only_lists = input.flag() ? lists.data() : nullptr;
    request.only_all = input.flag() ? all.data() : nullptr;
  }
  if (parts & 64) request.timeout = input.number<double>();
  const recblr_status status = recblr_recommend(handles.engine, &request, handles.result);
  if (status == RECBLR_OK) {
    check_answer(handles, request);
  } else {
    check_error(status);
    check(recblr_result_n_rows(handles.result) == 0);
  }
  recblr_allow_list_free(list);
  return 0;
}
