// write_bundle FOLDER SEED: a tiny bundle in an existing folder, for a recblr-serve under test.
#include <cstdlib>

#include "tiny_bundle.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  recblr::tests::TinyBundle bundle;
  bundle.seed = static_cast<unsigned>(std::atoi(argv[2]));
  recblr::tests::write_bundle(bundle, argv[1]);
}
