#include <gtest/gtest.h>

#include <string>

extern "C" const char* smoke_sha256(const char* text);

TEST(Smoke, Sha256) { EXPECT_EQ(std::string(smoke_sha256("")).substr(0, 12), "[227,176,196"); }
