// recblr-serve: answers over HTTP and gRPC from a bundle.
#include <cstdio>

#include "server/options/options.h"
#include "server/serve.h"

int main(int argc, char** argv) {
  const recblr::server::CommandLine line = recblr::server::parse_options(argc, argv);
  if (!line.options) {
    std::FILE* stream = line.status == 0 ? stdout : stderr;
    const bool written = std::fputs(line.text.c_str(), stream) >= 0 && std::fflush(stream) == 0;
    return written ? line.status : 1;
  }
  return recblr::server::serve(*line.options);
}
