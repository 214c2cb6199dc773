// recblr-serve: answers over HTTP and gRPC from a bundle.
#include <cstdio>

int main() {
  std::fputs("recblr-serve: nothing is served yet\n", stderr);
  return 1;
}
