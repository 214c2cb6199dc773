#include "python/request.h"

#include <string>

#include "python/allow_list.h"
#include "python/errors.h"

namespace recblr::python {

Request::Request(const Bundle& bundle, nb::handle items, int64_t k, bool exclude_seen, nb::handle exclude,
                 nb::handle only, bool new_items)
    : items_(bundle.id_type()) {
  request_.struct_size = sizeof request_;
  request_.k = k;
  request_.exclude_seen = exclude_seen ? 1 : 0;
  request_.are_new_items = new_items ? 1 : 0;
  items_.add_rows(items, new_items ? "new_items" : "histories", false);
  request_.items = items_.view();
  if (!exclude.is_none()) {
    exclude_.emplace(bundle.id_type()).add_rows(exclude, "exclude", true);
    exclude_view_ = exclude_->view();
    request_.exclude = &exclude_view_;
  }
  if (!only.is_none()) {
    read_only(only, bundle.id_type());
    request_.n_only = static_cast<int64_t>(all_.size());
    only_view_ = only_->view();
    request_.only_ids = &only_view_;
    request_.only_all = all_.data();
    request_.only_lists = lists_.data();
  }
}

bool Request::is_large() const {
  constexpr int64_t kMany = 10'000, kOfRow = 10;  // items; a row is ranked in the time that feeding it so many takes
  const int64_t n_rows = items_.n_rows();
  return n_rows > 0 && request_.items.offsets[n_rows] + kOfRow * n_rows > kMany;
}

void Request::read_only(nb::handle only, int32_t id_type) {
  only_.emplace(id_type);
  if (nb::isinstance<AllowList>(only)) {
    add_entry(only);
    return;
  }
  if (!is_sequence(only)) {
    raise(RECBLR_INVALID_ARGUMENT, "only is " + shown(only) + ": give a sequence of item ids, or one per row");
  }
  const bool is_list = PyList_Check(only.ptr()) || PyTuple_Check(only.ptr());
  nb::object first;
  if (is_list) {
    if (PySequence_Size(only.ptr()) > 0) first = item_at(only, 0);
  } else {
    nb::iterator found = nb::iter(only);
    if (found != nb::iterator::sentinel()) first = nb::borrow(*found);
  }
  // An array's missing value is no row that may have all.
  const bool per_row =
      first.is_valid() && ((first.is_none() && is_list) || nb::isinstance<AllowList>(first) || is_sequence(first));
  if (!per_row) {
    all_.push_back(0);
    lists_.push_back(nullptr);
    only_->add_row(only);
    return;
  }
  request_.only_per_row = 1;
  nb::object rows = is_list ? nb::borrow(only) : nb::list(only);
  for (Py_ssize_t b = 0; b < PySequence_Size(rows.ptr()); ++b) {
    nb::object row = item_at(rows, b);
    if (!row.is_none() && !nb::isinstance<AllowList>(row) && !is_row(row)) {
      raise(RECBLR_INVALID_ARGUMENT,
            "only[" + std::to_string(b) + "] is " + shown(row) + ": give a sequence of item ids per row");
    }
    add_entry(row);
  }
}

void Request::add_entry(nb::handle entry) {
  const bool is_list = nb::isinstance<AllowList>(entry);
  all_.push_back(entry.is_none() ? 1 : 0);
  lists_.push_back(is_list ? nb::cast<const AllowList&>(entry).handle() : nullptr);
  if (is_list) held_.push_back(nb::borrow(entry));
  if (is_list || entry.is_none()) {
    only_->add_empty_row();
  } else {
    only_->add_row(entry);
  }
}

}  // namespace recblr::python
