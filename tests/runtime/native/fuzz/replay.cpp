// Runs a fuzz target over a corpus, and over cut and changed copies of it: what compilers without libFuzzer test.
//
//     manifest_fuzz corpus/manifest_fuzz
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kChangedCopies = 200;

void run(const std::string& content) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(content.data()), content.size());
}

std::string changed(std::string content, std::mt19937* random) {
  const auto below = [random](size_t end) { return std::uniform_int_distribution<size_t>(0, end - 1)(*random); };
  if (below(4) == 0) content.resize(below(content.size() + 1));
  for (size_t times = 1 + below(4); times > 0 && !content.empty(); --times) {
    content[below(content.size())] = static_cast<char>(below(256));
  }
  return content;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
    return 2;
  }
  std::mt19937 random(7);
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    run(content);
    for (int copy = 0; copy < kChangedCopies; ++copy) run(changed(content, &random));
    ++n_files;
  }
  std::printf("%d files\n", n_files);
  return n_files > 0 ? 0 : 1;  // an empty corpus tests nothing
}
