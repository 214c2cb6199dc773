// Prints one line per check and counts them.
#pragma once

#include <cstdio>
#include <string>

namespace host {

class Checks {
 public:
  // `detail` is shown where the check fails. Returns `passed`.
  bool expect(bool passed, const std::string& what, const std::string& detail = "") {
    ++(passed ? passed_ : failed_);
    std::printf("%s  %s%s%s\n", passed ? "ok    " : "FAILED", what.c_str(), passed || detail.empty() ? "" : ": ",
                passed ? "" : detail.c_str());
    return passed;
  }

  bool all_passed() const { return failed_ == 0; }

  // Prints the summary and returns the exit status.
  int summary() const {
    std::printf("%d of %d checks passed\n", passed_, passed_ + failed_);
    return failed_ == 0 && passed_ > 0 ? 0 : 1;
  }

 private:
  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace host
