// Addresses of Redis servers, and that no message holds a password.
#include "users/stores/redis_address.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace recblr {
namespace {

TEST(RedisAddress, IsTakenApart) {
  RedisAddress address = parse_redis_address("redis://");
  EXPECT_EQ(address.shown(), "localhost:6379");
  EXPECT_FALSE(address.tls);
  EXPECT_EQ(address.timeout, 5);

  address = parse_redis_address("rediss://ann:s%40e%3Ac@[::1]:7000/3?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=False");
  EXPECT_EQ(address.shown(), "[::1]:7000");
  EXPECT_TRUE(address.tls);
  EXPECT_TRUE(address.verify);
  EXPECT_FALSE(address.check_hostname);
  EXPECT_EQ(address.user, "ann");
  EXPECT_EQ(address.password, "s@e:c");
  EXPECT_EQ(address.database, 3);
  EXPECT_EQ(address.ca_certs, "/ca.pem");

  address = parse_redis_address("valkeys://:secret@host?db=2&socket_timeout=0.5&decode_responses=true");
  EXPECT_TRUE(address.tls);
  EXPECT_EQ(address.user, "");
  EXPECT_EQ(address.password, "secret");
  EXPECT_EQ(address.database, 2);
  EXPECT_EQ(address.timeout, 0.5);

  address = parse_redis_address("unix://ann:secret@/run/a%20b.sock?db=1");
  EXPECT_EQ(address.shown(), "/run/a b.sock");
  EXPECT_EQ(address.password, "secret");
  EXPECT_TRUE(address.hosts.empty());

  address = parse_redis_address("sentinel://ann:secret@one,two:7001/shop?sentinel_password=other&db=4");
  EXPECT_EQ(address.shown(), "shop of the sentinels one:26379,two:7001");
  EXPECT_EQ(address.service, "shop");
  EXPECT_EQ(address.sentinel_password, "other");
  EXPECT_EQ(address.database, 4);
}

TEST(RedisAddress, WhatIsNoneIsRefusedWithoutItsPassword) {
  for (const char* text :
       {"http://ann:secret@host", "redis://ann:secret@host:port", "redis://ann:secret@host:0", "redis://:secret@host/x",
        "redis://host?password=secret&db=x", "redis://ann:sec?ret@host/x", "redis://ann:secret@host?unknown=1",
        "redis://ann:secret@[::1", "unix://ann:secret@", "sentinel://ann:secret@host", "sentinel://ann:secret@a:b/shop",
        "rediss://ann:secret@host?ssl_check_hostname=perhaps", "redis://ann:secret@host?socket_timeout=-1"}) {
    try {
      parse_redis_address(text);
      FAIL() << text;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), Code::kConfig);
      EXPECT_EQ(message.find("store '"), 0u);
      EXPECT_EQ(message.find("secret"), std::string::npos) << message;
      EXPECT_EQ(message.find("sec?ret"), std::string::npos) << message;
    }
  }
  const RedisAddress address = parse_redis_address("redis://ann:secret@host");
  EXPECT_EQ(address.without_passwords("unknown command `AUTH`, with args beginning with: `ann`, `secret`"),
            "unknown command `AUTH`, with args beginning with: `ann`, `***`");
}

}  // namespace
}  // namespace recblr
