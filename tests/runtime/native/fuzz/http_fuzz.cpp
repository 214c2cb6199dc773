// A connection's bytes, after one byte that says how they are cut: the requests that are read of them are the same as
// those of the bytes as a whole, and nothing is read after what is refused.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/request_reader.h"
#include "server/http/router.h"

namespace {

using recblr::server::Access;
using recblr::server::Method;
using recblr::server::RequestReader;
using recblr::server::Router;
using State = RequestReader::State;

constexpr int64_t kMaxHeader = 400, kMaxBody = 2000;

const Router& router() {
  static const Router router = [] {
    Router made;
    for (const char* pattern : {"/", "/v1/recommend", "/v1/users/{id}", "/v1/users/{id}/events"}) {
      made.add(Method::kGet, pattern, Access::kUser, {});
      made.add(Method::kPost, pattern, Access::kUser, {});
    }
    return made;
  }();
  return router;
}

void check_route(RequestReader* reader) {
  std::vector<std::string> parameters;
  std::string allowed;
  const auto* const route = router().find(reader->request().method, reader->raw_path(), &parameters, &allowed);
  if (route == nullptr) return;
  const auto wanted = std::count(route->pattern.begin(), route->pattern.end(), '{');
  if (static_cast<std::ptrdiff_t>(parameters.size()) != wanted) abort();
  if (std::any_of(parameters.begin(), parameters.end(), [](const std::string& one) { return one.empty(); })) abort();
}

// What became of each request, in words.
std::vector<std::string> read(std::string bytes, size_t step) {
  RequestReader reader(kMaxHeader, kMaxBody);
  std::vector<std::string> results;
  size_t given = 0;
  for (;;) {
    const State before = reader.state();
    if (before == State::kHead || before == State::kBody) {
      const size_t taken = reader.read(std::string_view(bytes).substr(0, given));
      if (taken > given) abort();
      bytes.erase(0, taken);
      given -= taken;
      if (reader.state() != before) continue;
      if (given == bytes.size()) return results;
      given = std::min(bytes.size(), given + step);
    } else if (before == State::kHeadRead) {
      check_route(&reader);
      if (reader.request().path.size() % 4 == 3) {
        reader.drop_body();
      } else {
        reader.keep_body();
      }
    } else if (before == State::kPacked) {
      reader.unpack(step);
    } else if (before == State::kRefused) {
      const auto& refusal = reader.refusal();
      if (refusal.status < 400 || refusal.status > 499 || refusal.message.empty() || reader.keep_alive()) abort();
      results.push_back(std::to_string(refusal.status));
      return results;
    } else {
      if (static_cast<int64_t>(reader.request().body.size()) > kMaxBody) abort();
      results.push_back(reader.method_name() + " " + reader.request().path + " " + reader.request().body);
      reader.next();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<std::string> whole = read(bytes, bytes.size() + 1), cut = read(bytes, 1 + data[0] % 64);
  // How long what comes with a chunk is, is only known of pieces.
  const bool is_too_long = !cut.empty() && cut.back() == "431";
  if (cut != whole && !is_too_long) abort();
  return 0;
}
