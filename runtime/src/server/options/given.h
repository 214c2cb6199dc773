// What the options say, before it is put together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/options/option.h"
#include "server/options/options.h"

namespace recblr::server {

struct Given {
  Options options;
  Batching batching;
  std::optional<int64_t> workers;
  double max_delay_ms = 0;
  std::string device = "cpu", backend = "auto";
  std::vector<std::string> hosts, unix_sockets;
  int64_t http_port = 8000;
  std::optional<int64_t> grpc_port;
  std::string token_file, admin_token_file;
  bool insecure = false;

  Given();
};

// All options, which store into `given`; those of a group are neighbours.
std::vector<Option> options_of(Given* given);

// What is served with them; `list` are the options of `given`. Throws UsageError where some do not go together.
Options assemble(Given given, const std::vector<Option>& list);

}  // namespace recblr::server
