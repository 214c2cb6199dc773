// Where a server listens.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "recblr/recblr.hpp"
#include "server/http_server_fixture.h"

namespace recblr::server {
namespace {

class HttpListening : public HttpServerFixture {
 protected:
  ~HttpListening() override { std::filesystem::remove(path); }

  // What is said of addresses where it cannot listen.
  std::string error(const std::string& address) {
    options.addresses = {address};
    try {
      HttpServer server(options, router, nullptr);
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::kBadConfig);
      return error.what();
    }
    return "none";
  }

  const std::string path = ::testing::TempDir() + "recblr_listening_" + std::to_string(::getpid());
};

bool has_ipv6() {
  const Client client(::socket(AF_INET6, SOCK_STREAM, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  return client.fd() >= 0 && ::bind(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

TEST_F(HttpListening, AtSeveralAddressesAtOnce) {
  options.addresses = {"127.0.0.1:0", "unix:" + path};
  if (has_ipv6()) options.addresses.push_back("[::1]:0");
  start();
  EXPECT_EQ(url(0).rfind("http://127.0.0.1:", 0), 0u);
  EXPECT_NE(url(0), "http://127.0.0.1:0");
  EXPECT_EQ(url(1), "unix:" + path);
  if (has_ipv6()) {
    EXPECT_EQ(url(2).rfind("http://[::1]:", 0), 0u);
  }
  for (const std::string& where : server->urls()) EXPECT_EQ(connect(where).ask(get("/hello")).body, "hello") << where;
}

TEST_F(HttpListening, AtAllAddressesAndAName) {
  start();  // for a port that is free, if nobody takes it meanwhile
  const std::string port = url().substr(url().rfind(':'));
  server.reset();
  options.addresses = {"[::]" + port, "localhost" + port};
  if (!has_ipv6()) options.addresses.erase(options.addresses.begin());
  start();
  EXPECT_EQ(connect("http://127.0.0.1" + port).ask(get("/hello")).body, "hello");
}

TEST_F(HttpListening, RemovesItsUnixSocket) {
  options.addresses = {"unix:" + path};
  start();
  EXPECT_TRUE(std::filesystem::is_socket(path));
  server.reset();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(HttpListening, ReplacesAStaleUnixSocketOnly) {
  options.addresses = {"unix:" + path};
  start();
  EXPECT_NE(error("unix:" + path).find("Address already in use"), std::string::npos);
  EXPECT_EQ(connect().ask(get("/hello")).body, "hello");  // is still there
  ASSERT_EQ(::rename(path.c_str(), (path + ".stale").c_str()), 0);
  server.reset();
  ASSERT_EQ(::rename((path + ".stale").c_str(), path.c_str()), 0);
  start();
  EXPECT_EQ(connect().ask(get("/hello")).body, "hello");
  server.reset();
  std::ofstream(path) << "a file";
  EXPECT_NE(error("unix:" + path).find("a file that is no socket"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_regular_file(path));
}

TEST_F(HttpListening, SaysWhyItCannot) {
  start();
  const std::string taken = url().substr(std::string("http://").size());
  EXPECT_EQ(error(taken),
            "cannot listen at '" + taken + "': Address already in use: stop what listens there, or give another port");
  for (const char* address : {"", "localhost", "8000", ":8000", "::1:8000", "[]:8000", "127.0.0.1:", "127.0.0.1:65536",
                              "127.0.0.1:-1", "127.0.0.1:http", "unix:", "256.0.0.1:0", "192.0.2.1:0"}) {
    EXPECT_EQ(error(address).rfind("cannot listen at '" + std::string(address) + "': ", 0), 0u) << error(address);
  }
  EXPECT_NE(error("unix:/" + std::string(200, 'x')).find("1 to 107 bytes"), std::string::npos);
}

}  // namespace
}  // namespace recblr::server
