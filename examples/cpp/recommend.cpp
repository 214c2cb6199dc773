// Prints the best next items for each history on stdin: item ids on one line, separated by blanks.
//
//   recommend BUNDLE [K] < histories.txt
//
// A line of output has ids and scores, "2858:3.21 527:2.98 ...", and "popular" in front where nothing is known of the
// user.
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <iterator>
#include <recblr/recblr.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr size_t kRowsAtOnce = 64;

void print(const recblr::Ranking& ranking) {
  if (ranking.popular()) std::cout << "popular ";
  for (size_t j = 0; j < ranking.size(); ++j) {
    if (j > 0) std::cout << ' ';
    if (ranking.has_string_ids()) {
      std::cout << ranking.string(j);
    } else {
      std::cout << ranking.integer(j);
    }
    std::cout << ':' << ranking.score(j);
  }
  std::cout << '\n';
}

void recommend(const char* path, int64_t k) {
  const recblr::Bundle bundle(path);
  const recblr::Engine engine(bundle);
  std::cerr << engine.description() << '\n';
  // Used again for every request, so that answers take no memory from the heap. "25" is the integer id 25, too.
  recblr::StringIds histories;
  recblr::Result result;
  std::string line;
  bool is_more = true;
  while (is_more) {
    histories.clear();
    while (histories.n_rows() < kRowsAtOnce && (is_more = static_cast<bool>(std::getline(std::cin, line)))) {
      std::istringstream words(line);
      histories.add_row(std::vector<std::string>(std::istream_iterator<std::string>(words), {}));
    }
    recblr::Request request(histories);
    request.k = k;
    engine.recommend(request, &result);
    for (size_t row = 0; row < result.n_rows(); ++row) print(result.row(row));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: recommend BUNDLE [K] < histories.txt\n";
    return 2;
  }
  std::cout << std::setprecision(9);  // as many digits as tell all float32 apart
  try {
    recommend(argv[1], argc > 2 ? std::atoll(argv[2]) : 10);
  } catch (const recblr::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
