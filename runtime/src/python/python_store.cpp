#include "python/python_store.h"

#include <string>
#include <utility>

#include "python/errors.h"
#include "python/history_ids.h"
#include "python/ids.h"
#include "python/numbers.h"

namespace recblr::python {
namespace {

[[noreturn]] void refuse(const std::string& what) { raise(RECBLR_STORE_FAILED, "the store gave " + what); }

// The `n` things in what a method gave, as a list or a tuple.
nb::object answers(nb::handle given, int64_t n, const char* method, const char* of_each) {
  nb::object list = is_sequence(given) ? as_list(given) : nb::object();
  if (!list.is_valid() || PySequence_Size(list.ptr()) != n) {
    refuse(shown(given) + " from " + method + "() of " + std::to_string(n) + ": give " + of_each);
  }
  return list;
}

nb::object field(nb::handle event, const char* name) {
  nb::object found = nb::getattr(event, name, nb::object());
  if (!found.is_valid()) refuse(shown(event) + " as an event, which has no " + name + ": give a recblr.runtime.Event");
  return found;
}

int64_t number(nb::handle event, const char* name) {
  nb::object value = field(event, name);
  int64_t found = 0;
  if (!as_whole(value, &found)) {
    refuse("an event whose " + std::string(name) + " is " + shown(value) + ": give a whole number of 64 bits");
  }
  return found;
}

}  // namespace

PythonStore::PythonStore(nb::object store)
    : store_(std::move(store)),
      append_class_(nb::module_::import_("recblr.runtime.users.stores.base").attr("Append")) {}

// Calls with the store, or says why it cannot.
template <typename Call>
recblr_status PythonStore::guarded(void* context, const Call& call) {
  if (!nb::is_alive()) return recblr_set_error(RECBLR_CLOSED, "the interpreter ends: ask before that");
  PythonStore& self = **static_cast<std::shared_ptr<PythonStore>*>(context);
  nb::gil_scoped_acquire acquire;
  const nb::object store = self.store_;  // held as long as it is called
  if (!store.is_valid()) return recblr_set_error(RECBLR_CLOSED, "the store is closed: make a new one");
  try {
    call(self, store);
    return RECBLR_OK;
  } catch (nb::python_error& error) {
    const nb::handle exception = error.value();
    return self.raised_.remember(
        exception, RECBLR_STORE_FAILED,
        "the store failed (" + name_of_type(exception) + ": " + short_reason(exception) + "): check the store");
  } catch (const std::exception& error) {
    return recblr_set_error(RECBLR_STORE_FAILED, error.what());
  }
}

recblr_store_callbacks PythonStore::callbacks(int64_t max_history) {
  recblr_store_callbacks made{};
  made.struct_size = sizeof made;
  made.append = [](void* context, const recblr_event* events, int64_t n, uint8_t* added) {
    return guarded(context, [=](PythonStore& self, nb::handle store) { self.append(store, events, n, added); });
  };
  made.read = [](void* context, const recblr_id* users, const int64_t* since, int64_t n, recblr_events* events) {
    return guarded(context, [=](PythonStore&, nb::handle store) { read(store, users, since, n, events); });
  };
  made.forget = [](void* context, const recblr_id* user, int32_t* found) {
    return guarded(context, [=](PythonStore&, nb::handle store) {
      nb::object given = store.attr("forget")(object_of(*user));
      bool had_any = false;
      if (!as_flag(given, &had_any)) refuse(shown(given) + " from forget(): give whether it held anything of the user");
      *found = had_any ? 1 : 0;
    });
  };
  made.close = [](void* context) {
    return guarded(context, [](PythonStore&, nb::handle store) { store.attr("close")(); });
  };
  made.release = [](void* context) {
    if (!nb::is_alive()) return;  // the process ends, and takes it along
    nb::gil_scoped_acquire acquire;
    delete static_cast<std::shared_ptr<PythonStore>*>(context);
  };
  made.max_history = max_history;
  made.context = new std::shared_ptr<PythonStore>(shared_from_this());
  return made;
}

void PythonStore::append(nb::handle store, const recblr_event* events, int64_t n, uint8_t* added) const {
  nb::list appends;
  for (int64_t j = 0; j < n; ++j) {
    const recblr_event& event = events[j];
    nb::object event_id = event.event_id == nullptr ? nb::object(nb::none()) : object_of(*event.event_id);
    appends.append(append_class_(object_of(event.user), list_of(event.items, event.n_items), event_id));
  }
  nb::object given = store.attr("append")(appends);
  nb::object flags = answers(given, n, "append", "a list that tells of each event whether it was new");
  for (int64_t j = 0; j < n; ++j) {
    nb::object flag = item_at(flags, static_cast<Py_ssize_t>(j));
    bool is_new = false;
    if (!as_flag(flag, &is_new)) refuse(shown(flag) + " from append(): give whether the event was new");
    added[j] = is_new ? 1 : 0;
  }
}

void PythonStore::read(nb::handle store, const recblr_id* users, const int64_t* since, int64_t n,
                       recblr_events* events) {
  nb::list numbers;
  for (int64_t b = 0; b < n; ++b) numbers.append(nb::int_(since[b]));
  nb::object given = store.attr("read")(list_of(users, n), numbers);
  nb::object logs = answers(given, n, "read", "a list of events for each user");
  for (int64_t b = 0; b < n; ++b) add_log(item_at(logs, static_cast<Py_ssize_t>(b)), users[b], b, events);
}

void PythonStore::add_log(nb::handle log, const recblr_id& user, int64_t number_of_user, recblr_events* events) {
  if (!is_sequence(log)) refuse(shown(log) + " from read() for a user: give a list of events");
  nb::object list = as_list(log);
  for (Py_ssize_t j = 0; j < PySequence_Size(list.ptr()); ++j) {
    nb::object event = item_at(list, j);
    const int64_t seq = number(event, "seq"), stamp = number(event, "stamp");
    nb::object given = field(event, "items");
    const std::string place = "event " + std::to_string(seq) + " of user " + shown(object_of(user));
    if (!is_row(given)) refuse(shown(given) + " as the items of " + place + ": give a list of item ids");
    nb::object items = as_list(given);
    HistoryIds ids;
    for (Py_ssize_t i = 0; i < PySequence_Size(items.ptr()); ++i) {
      nb::object item = item_at(items, i);
      try {
        ids.add(item, "items", i);
      } catch (nb::python_error& error) {
        if (status_of(error.value()) != RECBLR_INVALID_ARGUMENT) throw;
        refuse(place + ", in which " + utf8_of(nb::str(error.value())));
      }
    }
    check(recblr_events_add(events, number_of_user, seq, stamp, ids.ids(), ids.size()));
  }
}

int PythonStore::visit(const Visitor& visitor) const {
  if (const int stop = visitor(store_)) return stop;
  if (const int stop = visitor(append_class_)) return stop;
  return raised_.visit(visitor);
}

void PythonStore::clear() {
  const nb::object gone = std::move(store_);
  raised_.forget();
}

}  // namespace recblr::python
