// The pages, and the API's document: they need nothing from elsewhere, and it describes what is answered.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>

#include "server/oip/routes.h"
#include "server/v1_fixture.h"

namespace recblr::server {
namespace {

class PagesTest : public V1Test {};

TEST_F(PagesTest, NothingIsLoadedFromElsewhere) {
  for (const char* target : {"/", "/docs"}) {
    const Reply reply = ask(Method::kGet, target);
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.content_type, "text/html; charset=utf-8");
    EXPECT_EQ(reply.body.find("https:"), std::string::npos);
    EXPECT_EQ(reply.body.find(" src="), std::string::npos);
    // Addresses within the server are relative, so that they are right behind a proxy that adds a prefix.
    EXPECT_EQ(reply.body.find("href=\"/"), std::string::npos);
    EXPECT_EQ(reply.body.find("fetch(\"/"), std::string::npos);
    for (size_t at = reply.body.find("http:"); at != std::string::npos; at = reply.body.find("http:", at + 1)) {
      EXPECT_EQ(reply.body.substr(at, 27), "http://www.w3.org/2000/svg\"") << "a name, which nobody loads";
    }
    const auto policy = std::find_if(reply.headers.begin(), reply.headers.end(),
                                     [](const auto& header) { return header.first == "Content-Security-Policy"; });
    ASSERT_NE(policy, reply.headers.end());
    EXPECT_EQ(policy->second.substr(0, 18), "default-src 'none'");
  }
}

TEST_F(PagesTest, TheStatusPageHasWhatItsUsersLookFor) {
  const std::string page = ask(Method::kGet, "/").body;
  for (const char* id : {"history", "ask", "answer", "fingerprint", "throughput"}) {
    EXPECT_NE(page.find("id=\"" + std::string(id) + "\""), std::string::npos) << id;
  }
}

TEST_F(PagesTest, TheDocumentTellsTheLimits) {
  V1Options options;
  options.limits.max_users = 1234;
  options.limits.max_k = 77;
  options.max_body_bytes = 5000;
  add_routes(options);
  for (const auto& [target, server] : {std::pair("/openapi.json", "."), std::pair("/v1/openapi.json", "..")}) {
    const Reply reply = ask(Method::kGet, target);
    EXPECT_EQ(reply.body.find('@'), std::string::npos);
    const Json api = Json::parse(reply.body);
    EXPECT_EQ(api.at("openapi"), "3.0.3");
    EXPECT_EQ(api.at("servers")[0].at("url"), server);
    const std::string description = api.at("info").at("description");
    for (const char* words :
         {"1,234 histories", "5,000 bytes", "77 results per history", "The item ids of this model are integers."}) {
      EXPECT_NE(description.find(words), std::string::npos) << words;
    }
    const Json& fields = api.at("components").at("schemas").at("RecommendRequest").at("properties");
    EXPECT_EQ(fields.at("histories").at("maxItems"), 1234);
    EXPECT_EQ(fields.at("k").at("maximum"), 77);
  }
}

TEST_F(PagesTest, TheDocumentDescribesWhatIsAnswered) {
  OipStatistics statistics;
  add_oip_routes(&router_, models_.get(), pool_.get(), &statistics, {});
  std::set<std::string> answered, described;
  for (const Route& route : router_.routes()) {
    if (route.pattern == "/" || route.pattern == "/docs" || route.pattern.find("openapi.json") != std::string::npos) {
      continue;
    }
    answered.insert(std::string(name_of(route.method)) + " " + route.pattern);
  }
  answered.insert("GET /metrics");
  const Json api = Json::parse(ask(Method::kGet, "/openapi.json").body);
  for (const auto& [path, methods] : api.at("paths").items()) {
    for (const auto& [method, operation] : methods.items()) {
      std::string name = method;
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
      described.insert(name + " " + path);
      EXPECT_TRUE(operation.at("responses").contains("200")) << path;
    }
  }
  EXPECT_EQ(described, answered);
}

TEST_F(PagesTest, ExamplesAreAnswered) {
  const Json api = Json::parse(ask(Method::kGet, "/openapi.json").body);
  const auto example = [&api](const char* path) {
    return api.at("paths").at(path).at("post").at("requestBody").at("content").at("application/json").at("example");
  };
  const Json& schemas = api.at("components").at("schemas");
  const Json recommend = example("/v1/recommend");
  std::set<std::string> fields, shown;
  for (const auto& [name, field] : schemas.at("RecommendRequest").at("properties").items()) {
    EXPECT_TRUE(field.contains("description")) << name;
    fields.insert(name);
  }
  for (const auto& item : recommend.items()) shown.insert(item.key());
  EXPECT_EQ(shown, fields);
  EXPECT_EQ(answer(Method::kPost, "/v1/recommend", recommend.dump()).at("rankings").size(), 2U);
  EXPECT_EQ(answer(Method::kPost, "/v1/users/ann/events", example("/v1/users/{id}/events").dump()).at("added"), true);
  EXPECT_EQ(answer(Method::kPost, "/v1/model/reload", example("/v1/model/reload").dump()).at("version"), 2);
}

// Answers have the fields that the document says, and no others.
TEST_F(PagesTest, AnswersAreAsDescribed) {
  const Json schemas = Json::parse(ask(Method::kGet, "/openapi.json").body).at("components").at("schemas");
  const auto expect_fields = [&schemas](const Json& given, const char* schema) {
    std::set<std::string> fields, expected;
    for (const auto& item : given.items()) fields.insert(item.key());
    for (const auto& name : schemas.at(schema).at("required")) expected.insert(name);
    EXPECT_EQ(fields, expected) << schema;
    EXPECT_EQ(schemas.at(schema).at("properties").size(), expected.size()) << schema;
  };
  const Json rankings = answer(Method::kPost, "/v1/recommend", R"({"histories": [[10]]})");
  expect_fields(rankings, "Rankings");
  expect_fields(rankings.at("rankings")[0], "Ranking");
  expect_fields(answer(Method::kPost, "/v1/users/ann/events", R"({"items": [10]})"), "Added");
  expect_fields(answer(Method::kGet, "/v1/users/ann/recommendations"), "UserRanking");
  expect_fields(answer(Method::kGet, "/v1/users/ann"), "History");
  expect_fields(answer(Method::kDelete, "/v1/users/ann"), "Forgotten");
  expect_fields(answer(Method::kGet, "/v1/model"), "Model");
  expect_fields(Json::parse(ask(Method::kPost, "/v1/recommend", "{").body), "Error");
}

}  // namespace
}  // namespace recblr::server
