// Runs rows, and where that fails, again in halves.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>

#include "backends/backend.h"
#include "batching/failure.h"

namespace recblr {

// Runs the rows from `begin` to `end`. A run that throws is repeated in halves, down to single rows, so that only rows
// at fault fail, and rows too many for the memory become two runs. `observer` has
//   int64_t first_wanted(begin, end)  the first of these rows that is still to be run, or `end`; begin never falls
//   void ran(begin, end, seconds)     they were, in so many seconds
//   bool raised(error)                a run threw; whether to repeat it, if it had several rows
//   void failed(begin, error)         the run of the row `begin`, and what followed it, is not repeated
// None of them throws.
template <typename Observer>
void run_in_halves(const Backend& backend, const Row* rows, int64_t begin, int64_t end, Observer* observer) noexcept {
  begin = observer->first_wanted(begin, end);
  if (begin == end) return;
  const auto started = std::chrono::steady_clock::now();
  try {
    backend.run(rows + begin, end - begin);
  } catch (...) {
    const std::exception_ptr error = std::current_exception();
    if (!observer->raised(error) || end - begin == 1) {
      observer->failed(begin, explained(error));
      return;
    }
    const int64_t middle = begin + (end - begin) / 2;
    run_in_halves(backend, rows, begin, middle, observer);
    run_in_halves(backend, rows, middle, end, observer);
    return;
  }
  observer->ran(begin, end, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
}

}  // namespace recblr
