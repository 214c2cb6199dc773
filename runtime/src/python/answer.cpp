#include "python/answer.h"

#include <mutex>
#include <vector>

#include "python/arrays.h"
#include "python/errors.h"

namespace recblr::python {
namespace {

constexpr size_t kMostKept = 64;
constexpr int64_t kMostNumbers = 1 << 16;  // of an answer whose memory is kept

struct Results {
  std::mutex mutex;
  std::vector<recblr_result*> unused;
};

// Never destroyed, as the interpreter may be gone then.
Results& results() {
  static auto* const made = new Results;
  return *made;
}

struct Names {
  PyTypeObject* ranking;
  nb::object items, scores, unknown, popular;
};

// Never destroyed, either.
Names* names = nullptr;

void set(nb::handle ranking, const nb::object& field, const nb::object& value) {
  if (PyObject_GenericSetAttr(ranking.ptr(), field.ptr(), value.ptr()) != 0) throw nb::python_error();
}

nb::object ranking_of(const recblr_result* result, int64_t row) {
  recblr_ranking ranking;
  check(recblr_result_row(result, row, &ranking));
  nb::object items = nb::steal(PyList_New(static_cast<Py_ssize_t>(ranking.count)));
  if (!items.is_valid()) throw nb::python_error();
  for (int64_t i = 0; i < ranking.count; ++i) {
    nb::object item = ranking.strings == nullptr ? nb::object(nb::int_(ranking.integers[i]))
                                                 : text_of(ranking.strings[i], static_cast<size_t>(ranking.lengths[i]));
    PyList_SetItem(items.ptr(), static_cast<Py_ssize_t>(i), item.release().ptr());
  }
  nb::object scores = new_array(NumberType::kFloat32, ranking.scores, ranking.count);
  // As Ranking.__init__ does it for a frozen class, without the call of it.
  nb::object made = nb::steal(PyType_GenericAlloc(names->ranking, 0));
  if (!made.is_valid()) throw nb::python_error();
  set(made, names->items, items);
  set(made, names->scores, scores);
  set(made, names->unknown, nb::int_(ranking.unknown));
  set(made, names->popular, nb::bool_(ranking.popular != 0));
  return made;
}

}  // namespace

void init_answer() {
  auto* found = new Names;
  found->ranking = reinterpret_cast<PyTypeObject*>(
      nb::object(nb::module_::import_("recblr.runtime.ranking").attr("Ranking")).release().ptr());
  const auto interned = [](const char* name) { return nb::steal(PyUnicode_InternFromString(name)); };
  found->items = interned("items");
  found->scores = interned("scores");
  found->unknown = interned("unknown");
  found->popular = interned("popular");
  names = found;
}

Result::Result() : result_(nullptr) {
  {
    const std::lock_guard<std::mutex> lock(results().mutex);
    if (!results().unused.empty()) {
      result_ = results().unused.back();
      results().unused.pop_back();
    }
  }
  if (result_ == nullptr) check(recblr_result_create(&result_));
}

Result::~Result() {
  recblr_ranking ranking{};
  const int64_t n_rows = recblr_result_n_rows(result_);
  const bool is_large = n_rows > 0 && (recblr_result_row(result_, 0, &ranking) != RECBLR_OK ||
                                       n_rows * (ranking.count + 1) > kMostNumbers);
  const std::lock_guard<std::mutex> lock(results().mutex);
  if (!is_large && results().unused.size() < kMostKept) {
    results().unused.push_back(result_);
  } else {
    recblr_result_free(result_);
  }
}

nb::list rankings(const recblr_result* result) {
  nb::list found;
  for (int64_t row = 0; row < recblr_result_n_rows(result); ++row) found.append(ranking_of(result, row));
  return found;
}

}  // namespace recblr::python
