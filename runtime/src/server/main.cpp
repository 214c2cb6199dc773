// recblr-serve: answers over HTTP and gRPC from a bundle.
#include <cstdio>

#include "server/options/options.h"
#include "server/serve.h"

int main(int argc, char** argv) {
  const recblr::server::CommandLine line = recblr::server::parse_options(argc, argv);
  if (!line.options) {
    std::fputs(line.text.c_str(), line.status == 0 ? stdout : stderr);
    return line.status;
  }
  return recblr::server::serve(*line.options);
}
