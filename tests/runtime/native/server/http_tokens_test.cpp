// Who may use which route.
#include <gtest/gtest.h>

#include <string>

#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class HttpTokens : public HttpServerFixture {
 protected:
  int status(const std::string& path, const std::string& token) {
    return connect().ask(get(path, token.empty() ? "" : "Authorization: " + token + "\r\n")).status;
  }
};

TEST_F(HttpTokens, AreNotNeededWhereThereAreNone) {
  start();
  for (const char* path : {"/public", "/hello", "/admin"}) EXPECT_EQ(status(path, ""), 200);
}

TEST_F(HttpTokens, OfUsersAndAdmins) {
  options.tokens = {"user-token", "admin-token"};
  start();
  EXPECT_EQ(status("/public", ""), 200);
  for (const char* path : {"/hello", "/admin"}) {
    EXPECT_EQ(status(path, ""), 401);
    EXPECT_EQ(status(path, "Bearer wrong"), 401);
    EXPECT_EQ(status(path, "Bearer "), 401);
    EXPECT_EQ(status(path, "Basic user-token"), 401);
    EXPECT_EQ(status(path, "Bearer user-token2"), 401);
    EXPECT_EQ(status(path, "bearer admin-token"), 200);
  }
  EXPECT_EQ(status("/hello", "Bearer user-token"), 200);
  EXPECT_EQ(status("/admin", "Bearer user-token"), 403);
  EXPECT_EQ(status("/nothing", ""), 404);
}

TEST_F(HttpTokens, OfUsersHoldForAdminsWhoHaveNone) {
  options.tokens.user = "user-token";
  start();
  EXPECT_EQ(status("/admin", ""), 401);
  EXPECT_EQ(status("/admin", "Bearer user-token"), 200);
}

TEST_F(HttpTokens, OfAdminsAreNotNeededByUsers) {
  options.tokens.admin = "admin-token";
  start();
  EXPECT_EQ(status("/hello", ""), 200);
  EXPECT_EQ(status("/admin", ""), 401);
  EXPECT_EQ(status("/admin", "Bearer admin-token"), 200);
}

TEST_F(HttpTokens, AreAskedForBeforeTheBody) {
  options.tokens.user = "user-token";
  start();
  Client client = connect();
  Answer answer = client.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  Client small = connect();
  EXPECT_EQ(small.ask(post("/echo", "body")).status, 401);
  EXPECT_EQ(small.ask(post("/echo", "body", "Authorization: Bearer user-token\r\n")).body, "body");
  EXPECT_EQ(finished.wait(1)[0].reason, "unauthorized");
}

}  // namespace
}  // namespace recblr::server
