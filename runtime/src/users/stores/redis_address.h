// Where a Redis or Valkey server is, as an address says it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace recblr {

struct RedisHost {
  std::string name;
  int port;
};

//   redis://[USER:PASSWORD@]HOST[:PORT][/DB]           rediss:// for TLS; valkey:// and valkeys:// are the same
//   unix://[USER:PASSWORD@]/SOCKET[?db=DB]
//   sentinel://[USER:PASSWORD@]HOST[:PORT][,...]/SERVICE    asks the sentinels at HOST... who leads; sentinels:// for
//   TLS
// with ?db=, username=, password=, socket_timeout=, socket_connect_timeout= (seconds), sentinel_username=,
// sentinel_password=, ssl_ca_certs=, ssl_certfile=, ssl_keyfile= (PEM files), ssl_cert_reqs=none,
// ssl_check_hostname=false. Parts are percent-decoded. Options of redis-py that decide nothing here are passed over.
struct RedisAddress {
  std::vector<RedisHost> hosts;  // one; of sentinels, any number; none for a socket
  std::string socket;            // its path
  std::string service;           // that sentinels know; empty without sentinels
  bool tls = false;
  bool verify = true;          // that the certificate is one that is trusted,
  bool check_hostname = true;  // and is of this host
  std::string ca_certs, certificate, key;
  std::string user, password, sentinel_user, sentinel_password;
  int database = 0;
  double timeout = 5, connect_timeout = 5;  // seconds

  std::string shown() const;                         // for messages, without passwords
  std::string without_passwords(std::string) const;  // what a server says, which may repeat what it was sent
};

// Throws Error(kConfig), whose message holds no password.
RedisAddress parse_redis_address(std::string_view address);

// An address for messages: without user and password, wherever they may be in it.
std::string redacted(std::string_view address);

}  // namespace recblr
