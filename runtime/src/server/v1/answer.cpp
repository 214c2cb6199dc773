#include "server/v1/answer.h"

#include "server/answer/json_text.h"

namespace recblr::server {

namespace {

constexpr size_t kBytesPerResult = 24, kBytesPerRow = 64, kBytesAround = 128;  // about

// The fields of a ranking, without the braces around.
void append_ranking(const Ranking& ranking, std::string* out) {
  *out += "\"items\":[";
  for (size_t j = 0; j < ranking.size(); ++j) {
    if (j > 0) *out += ',';
    if (ranking.has_string_ids()) {
      append_string(ranking.string(j), out);
    } else {
      append_integer(ranking.integer(j), out);
    }
  }
  *out += "],\"scores\":[";
  for (size_t j = 0; j < ranking.size(); ++j) {
    if (j > 0) *out += ',';
    append_float(ranking.score(j), out);
  }
  *out += "],\"popular\":";
  *out += ranking.popular() ? "true" : "false";
}

void append_model(std::string_view fingerprint, std::string* out) {
  *out += ",\"model\":";
  append_string(fingerprint, out);
  *out += '}';
}

}  // namespace

std::string rankings_text(const serving::Question& question) {
  const Result& result = question.result;
  const size_t n_rows = result.n_rows();
  std::string out;
  out.reserve(static_cast<size_t>(question.n_results()) * kBytesPerResult + n_rows * kBytesPerRow + kBytesAround);
  out += "{\"rankings\":[";
  for (size_t b = 0; b < n_rows; ++b) {
    const Ranking ranking = result.row(b);
    out += b > 0 ? ",{" : "{";
    append_ranking(ranking, &out);
    out += ",\"unknown\":";
    append_integer(ranking.unknown(), &out);
    out += '}';
  }
  out += ']';
  append_model(result.fingerprint(), &out);
  return out;
}

std::string user_ranking_text(const Result& result) {
  const Ranking ranking = result.row(0);
  std::string out;
  out.reserve(ranking.size() * kBytesPerResult + kBytesAround);
  out += '{';
  append_ranking(ranking, &out);
  append_model(result.fingerprint(), &out);
  return out;
}

}  // namespace recblr::server
