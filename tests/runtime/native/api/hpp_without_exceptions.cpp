// recblr.hpp where exceptions are off; compiled so, for hpp_test.cpp.
#include "hpp_without_exceptions.h"

#include "recblr/recblr.hpp"

namespace recblr::tests {

std::string best_without_exceptions(const std::string& path, int64_t id, int64_t k) {
  const auto bundle = Bundle::try_open(path);
  if (!bundle) return bundle.error().message;
  const auto engine = Engine::try_create(*bundle);
  if (!engine) return engine.error().message;
  auto result = Result::try_create();
  if (!result) return result.error().message;
  IntegerIds histories;
  histories.add_row({id});
  Request request(histories);
  request.k = k;
  if (const auto done = engine->try_recommend(request, &*result); !done) return done.error().message;
  std::string best;
  const auto ranking = result->try_row(0);
  for (size_t j = 0; j < ranking->size(); ++j) best += std::to_string(ranking->integer(j)) + " ";
  return best;
}

}  // namespace recblr::tests
