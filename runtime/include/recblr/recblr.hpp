// C++17 over the C API of librecblr: handles that free themselves, views, and errors as exceptions or as values.
//
//   recblr::Bundle bundle("bundle/");
//   recblr::Engine engine(bundle);
//   recblr::Result result;
//   recblr::IntegerIds histories;
//   histories.add_row({318, 527, 2858});
//   engine.recommend(recblr::Request(histories), &result);
//   for (size_t j = 0; j < result.row(0).size(); ++j) use(result.row(0).integer(j), result.row(0).score(j));
//
// Errors: constructors and functions throw recblr::Error. Each has a counterpart `try_...` that throws nothing but
// std::bad_alloc and returns an Expected; with -fno-exceptions only those are there.
//
// Threads and lifetimes are those of recblr.h: threads may share all but a Result, which belongs to one request at a
// time. Views end with what they are views of.
#ifndef RECBLR_RECBLR_HPP_
#define RECBLR_RECBLR_HPP_

#include <string_view>

#include "recblr/bundle.hpp"
#include "recblr/engine.hpp"
#include "recblr/expected.hpp"
#include "recblr/ids.hpp"
#include "recblr/log.hpp"
#include "recblr/recblr.h"
#include "recblr/request.hpp"
#include "recblr/store.hpp"
#include "recblr/users.hpp"

namespace recblr {
inline namespace RECBLR_CLIENT {

inline std::string_view version() { return recblr_version(); }
inline int usable_cpus() { return recblr_usable_cpus(); }

}  // namespace RECBLR_CLIENT
}  // namespace recblr

#endif  // RECBLR_RECBLR_HPP_
