// One small use of each of the C++ core's dependencies. Answers are JSON texts, valid until the thread's next call.
#define OPENSSL_SUPPRESS_DEPRECATED  // SHA256_*: 20 KB of code, where EVP_Digest brings 3.8 MB along
#include <openssl/sha.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>
#ifdef WITH_SQLITE
#include <sqlite3.h>
#endif
#ifdef WITH_REDIS
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#endif

namespace {
const char* answer(const nlohmann::json& value) {
  thread_local std::string text;
  text = value.dump();
  return text.c_str();
}
}  // namespace

extern "C" const char* smoke_sha256(const char* text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, text, std::strlen(text));
  SHA256_Final(digest, &context);
  return answer(std::vector<int>(std::begin(digest), std::end(digest)));
}

#ifdef WITH_SQLITE
extern "C" const char* smoke_sqlite() {
  sqlite3* database = nullptr;
  sqlite3_stmt* statement = nullptr;
  nlohmann::json result = nullptr;
  if (sqlite3_open(":memory:", &database) == SQLITE_OK &&
      sqlite3_prepare_v2(database, "select 6 * 7", -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    result = sqlite3_column_int(statement, 0);
  }
  sqlite3_finalize(statement);
  sqlite3_close(database);
  return answer(result);
}
#endif

#ifdef WITH_REDIS
extern "C" const char* smoke_redis(int port) {
  redisContext* context = redisConnect("127.0.0.1", port);
  nlohmann::json result = context->errstr;
  redisFree(context);
  return answer(result);
}

extern "C" const char* smoke_redis_tls(const char* authorities) {
  redisInitOpenSSL();
  redisSSLContextError error = REDIS_SSL_CTX_NONE;
  redisSSLContext* context = redisCreateSSLContext(authorities, nullptr, nullptr, nullptr, nullptr, &error);
  nlohmann::json result = redisSSLContextGetError(error);
  redisFreeSSLContext(context);
  return answer(result);
}
#endif
