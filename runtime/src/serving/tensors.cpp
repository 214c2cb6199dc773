#include "serving/tensors.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace recblr::serving {
namespace {

constexpr float kNoScore = std::numeric_limits<float>::lowest();

template <typename Number>
void append(Number number, std::string* content) {
  char bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  content->append(bytes, sizeof bytes);
}

template <typename Number>
void append(const Number* numbers, size_t count, std::string* content) {
  content->append(reinterpret_cast<const char*>(numbers), count * sizeof(Number));
}

void append_string(std::string_view text, std::string* content) {
  append(static_cast<uint32_t>(text.size()), content);
  *content += text;
}

// The rows of an answer, and the longest.
struct Rankings {
  explicit Rankings(const Result& result) {
    const size_t n_rows = result.n_rows();
    rows.reserve(n_rows);
    for (size_t b = 0; b < n_rows; ++b) rows.push_back(result.row(b));
    for (const Ranking& row : rows) k = std::max(k, row.size());
  }
  std::vector<Ranking> rows;
  size_t k = 0;
};

std::string items(const Rankings& rankings, bool are_strings) {
  std::string content;
  content.reserve(rankings.rows.size() * rankings.k * sizeof(int64_t));
  for (const Ranking& row : rankings.rows) {
    for (size_t j = 0; j < row.size(); ++j) {
      if (are_strings) {
        append_string(row.string(j), &content);
      } else {
        append(row.integer(j), &content);
      }
    }
    content.append((rankings.k - row.size()) * (are_strings ? sizeof(uint32_t) : sizeof(int64_t)), '\0');
  }
  return content;
}

std::string scores(const Rankings& rankings) {
  std::string content;
  content.reserve(rankings.rows.size() * rankings.k * sizeof(float));
  for (const Ranking& row : rankings.rows) {
    append(row.scores().data(), row.size(), &content);
    for (size_t j = row.size(); j < rankings.k; ++j) append(kNoScore, &content);
  }
  return content;
}

template <typename Number, typename NumberOf>
std::string one_per_row(const Rankings& rankings, const NumberOf& number_of) {
  std::string content;
  content.reserve(rankings.rows.size() * sizeof(Number));
  for (const Ranking& row : rankings.rows) append(static_cast<Number>(number_of(row)), &content);
  return content;
}

DataType id_type(const Bundle& bundle) { return bundle.has_string_ids() ? DataType::kBytes : DataType::kInt64; }

std::string content_of(std::string_view name, const Question& question, const Rankings& rankings,
                       const Bundle& bundle) {
  if (name == "items") return items(rankings, bundle.has_string_ids());
  if (name == "scores") return scores(rankings);
  if (name == "counts") return one_per_row<int64_t>(rankings, [](const Ranking& row) { return row.size(); });
  if (name == "unknown") return one_per_row<int64_t>(rankings, [](const Ranking& row) { return row.unknown(); });
  if (name == "popular") return one_per_row<uint8_t>(rankings, [](const Ranking& row) { return row.popular(); });
  std::string content;
  append(question.new_states.data(), question.new_states.size(), &content);
  return content;
}

}  // namespace

const char* name_of(DataType type) {
  switch (type) {
    case DataType::kBool:
      return "BOOL";
    case DataType::kInt32:
      return "INT32";
    case DataType::kInt64:
      return "INT64";
    case DataType::kFp32:
      return "FP32";
    case DataType::kBytes:
      break;
  }
  return "BYTES";
}

int64_t size_of(DataType type) {
  switch (type) {
    case DataType::kBool:
      return 1;
    case DataType::kInt32:
    case DataType::kFp32:
      return 4;
    case DataType::kInt64:
      return 8;
    case DataType::kBytes:
      break;
  }
  return 0;
}

std::vector<OutputTensor> answer_tensors(const Question& question, const std::vector<std::string_view>& outputs,
                                         const Bundle& bundle) {
  const Rankings rankings(question.result);
  const auto n_users = static_cast<int64_t>(rankings.rows.size());
  std::vector<OutputTensor> answer;
  const auto add = [&](const TensorMetadata& output) {
    std::vector<int64_t> shape = output.shape;
    shape[0] = n_users;
    if (shape.size() > 1 && shape[1] < 0) shape[1] = static_cast<int64_t>(rankings.k);
    answer.push_back({output.name, output.type, std::move(shape), content_of(output.name, question, rankings, bundle)});
  };
  const std::vector<TensorMetadata> known = output_metadata(bundle);
  if (outputs.empty()) {
    for (const TensorMetadata& output : known) {
      if (!output.optional) add(output);
    }
  }
  for (const std::string_view name : outputs) {
    for (const TensorMetadata& output : known) {
      if (output.name == name) add(output);
    }
  }
  return answer;
}

std::vector<TensorMetadata> input_metadata(const Bundle& bundle) {
  const DataType ids = id_type(bundle);
  return {{"item_ids", ids, {-1}, false},
          {"lengths", DataType::kInt64, {-1}, true},
          {"offsets", DataType::kInt64, {-1}, true},
          {"state_in", DataType::kFp32, {-1, bundle.state_size()}, true},
          {"exclude_ids", ids, {-1}, true},
          {"exclude_lengths", DataType::kInt64, {-1}, true},
          {"exclude_offsets", DataType::kInt64, {-1}, true},
          {"only_ids", ids, {-1}, true}};
}

std::vector<TensorMetadata> output_metadata(const Bundle& bundle) {
  return {{"items", id_type(bundle), {-1, -1}, false}, {"scores", DataType::kFp32, {-1, -1}, false},
          {"counts", DataType::kInt64, {-1}, false},   {"unknown", DataType::kInt64, {-1}, false},
          {"popular", DataType::kBool, {-1}, false},   {"state_out", DataType::kFp32, {-1, bundle.state_size()}, true}};
}

}  // namespace recblr::serving
