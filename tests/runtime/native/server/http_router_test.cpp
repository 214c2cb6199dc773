#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/http/router.h"
#include "server/http/text.h"

namespace recblr::server {
namespace {

class RouterTest : public ::testing::Test {
 protected:
  RouterTest() {
    for (const auto& [method, pattern] :
         std::vector<std::pair<Method, const char*>>{{Method::kGet, "/"},
                                                     {Method::kPost, "/v1/recommend"},
                                                     {Method::kGet, "/v1/users/{id}"},
                                                     {Method::kDelete, "/v1/users/{id}"},
                                                     {Method::kPost, "/v1/users/{id}/events"},
                                                     {Method::kGet, "/v2/models/{name}/versions/{version}"}}) {
      router_.add(method, pattern, Access::kUser, [](const ExchangePtr&) {});
    }
  }
  // The pattern that answers, with its parameters; or what is allowed.
  std::string find(Method method, const std::string& path) {
    std::vector<std::string> parameters;
    std::string allowed;
    const Route* const route = router_.find(method, path, &parameters, &allowed);
    if (route == nullptr) return "none, allowed: " + allowed;
    std::string found = route->pattern;
    for (const std::string& parameter : parameters) found += " '" + parameter + "'";
    return found;
  }

  Router router_;
};

TEST_F(RouterTest, FindsPaths) {
  EXPECT_EQ(find(Method::kGet, "/"), "/");
  EXPECT_EQ(find(Method::kPost, "/v1/recommend"), "/v1/recommend");
  EXPECT_EQ(find(Method::kPost, "/v1/%72ecommend"), "/v1/recommend");
  EXPECT_EQ(find(Method::kGet, "/v1/users/7"), "/v1/users/{id} '7'");
  EXPECT_EQ(find(Method::kHead, "/v1/users/7"), "/v1/users/{id} '7'");
  EXPECT_EQ(find(Method::kDelete, "/v1/users/7"), "/v1/users/{id} '7'");
  EXPECT_EQ(find(Method::kGet, "/v2/models/a/versions/1"), "/v2/models/{name}/versions/{version} 'a' '1'");
}

TEST_F(RouterTest, DecodesParameters) {
  EXPECT_EQ(find(Method::kGet, "/v1/users/a%2Fb"), "/v1/users/{id} 'a/b'");
  EXPECT_EQ(find(Method::kGet, "/v1/users/%C3%BC%20+"), "/v1/users/{id} 'ü +'");
  EXPECT_EQ(find(Method::kGet, "/v1/users/{id}"), "/v1/users/{id} '{id}'");
  EXPECT_EQ(find(Method::kGet, "/v1/users/.."), "/v1/users/{id} '..'");
}

TEST_F(RouterTest, TellsWhatIsAllowed) {
  EXPECT_EQ(find(Method::kGet, "/v1/recommend"), "none, allowed: POST");
  EXPECT_EQ(find(Method::kPut, "/v1/users/7"), "none, allowed: GET, HEAD, DELETE");
  EXPECT_EQ(find(Method::kOther, "/"), "none, allowed: GET, HEAD");
}

TEST_F(RouterTest, FindsNothingElse) {
  for (const char* path : {"", "*", "//", "/v1", "/v1/recommend/", "/v1/users/", "/v1/users//events", "/V1/recommend",
                           "/v1/users/7/events/8", "/v1/users/%ff"}) {
    EXPECT_EQ(find(Method::kPost, path), "none, allowed: ") << path;
  }
}

TEST(Text, IsDecodedWhereItIsUtf8) {
  EXPECT_EQ(percent_decoded("a%20b%00"), std::string("a b\0", 4));
  EXPECT_EQ(percent_decoded("%F0%9F%98%80"), "\U0001F600");
  for (const char* bad : {"%", "%1", "%g1", "%1g", "%80", "%C3", "%ED%A0%80", "%F4%90%80%80", "%E0%80%80", "%FE"}) {
    EXPECT_EQ(percent_decoded(bad), std::nullopt) << bad;
  }
}

TEST(Text, IsQuotedForJson) {
  EXPECT_EQ(json_string("a\"b\\c\n\x01ü"), "\"a\\\"b\\\\c\\u000a\\u0001ü\"");
  EXPECT_EQ(json_string("\xff!"), "\"\xEF\xBF\xBD!\"");
}

TEST(Message, ErrorsAreJson) {
  EXPECT_EQ(error_reply(400, "a 'b'").body, R"({"error":"a 'b'"})");
  EXPECT_TRUE(error_reply(400, "").headers.empty());
  EXPECT_EQ(error_reply(503, "").headers.at(0).first, "Retry-After");
}

}  // namespace
}  // namespace recblr::server
