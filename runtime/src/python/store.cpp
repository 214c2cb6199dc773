#include "python/store.h"

#include <nanobind/stl/string.h>

#include <vector>

#include "python/errors.h"
#include "python/history_ids.h"
#include "python/ids.h"
#include "python/released.h"

namespace recblr::python {
namespace {

// A store written in Python, which the library calls.
class PythonStore {
 public:
  PythonStore(nb::object store, std::shared_ptr<Raised> raised)
      : store_(std::move(store)),
        append_class_(nb::module_::import_("recblr.runtime.users.stores.base").attr("Append")),
        raised_(std::move(raised)) {}

  static recblr_store_callbacks callbacks(PythonStore* store, int64_t max_history) {
    recblr_store_callbacks made{};
    made.struct_size = sizeof made;
    made.context = store;
    made.append = [](void* context, const recblr_event* events, int64_t n, uint8_t* added) {
      return of(context).guarded([&](PythonStore& self) { self.append(events, n, added); });
    };
    made.read = [](void* context, const recblr_id* users, const int64_t* since, int64_t n, recblr_events* events) {
      return of(context).guarded([&](PythonStore& self) { self.read(users, since, n, events); });
    };
    made.forget = [](void* context, const recblr_id* user, int32_t* found) {
      return of(context).guarded(
          [&](PythonStore& self) { *found = nb::cast<bool>(self.store_.attr("forget")(object_of(*user))) ? 1 : 0; });
    };
    made.close = [](void* context) {
      return of(context).guarded([](PythonStore& self) { self.store_.attr("close")(); });
    };
    made.release = [](void* context) {
      if (!nb::is_alive()) return;  // the process ends, and takes it along
      nb::gil_scoped_acquire acquire;
      delete static_cast<PythonStore*>(context);
    };
    made.max_history = max_history;
    return made;
  }

 private:
  static PythonStore& of(void* context) { return *static_cast<PythonStore*>(context); }

  template <typename Call>
  recblr_status guarded(const Call& call) {
    if (!nb::is_alive()) return recblr_set_error(RECBLR_CLOSED, "the interpreter ends: ask before that");
    nb::gil_scoped_acquire acquire;
    try {
      call(*this);
      return RECBLR_OK;
    } catch (nb::python_error& error) {
      const nb::handle exception = error.value();
      return raised_->remember(
          exception, RECBLR_STORE_FAILED,
          "the store failed (" + name_of_type(exception) + ": " + short_reason(exception) + "): check the store");
    } catch (const std::exception& error) {
      return recblr_set_error(RECBLR_STORE_FAILED, error.what());
    }
  }

  void append(const recblr_event* events, int64_t n, uint8_t* added) const {
    nb::list appends;
    for (int64_t j = 0; j < n; ++j) {
      const recblr_event& event = events[j];
      nb::object event_id = event.event_id == nullptr ? nb::object(nb::none()) : object_of(*event.event_id);
      appends.append(append_class_(object_of(event.user), list_of(event.items, event.n_items), event_id));
    }
    nb::object found = store_.attr("append")(appends);
    for (int64_t j = 0; j < n; ++j) added[j] = nb::cast<bool>(nb::bool_(nb::object(found[j]))) ? 1 : 0;
  }

  void read(const recblr_id* users, const int64_t* since, int64_t n, recblr_events* events) const {
    nb::list numbers;
    for (int64_t b = 0; b < n; ++b) numbers.append(nb::int_(since[b]));
    nb::object logs = store_.attr("read")(list_of(users, n), numbers);
    for (int64_t b = 0; b < n; ++b) {
      for (nb::handle event : nb::object(logs[b])) {
        HistoryIds items;
        int64_t j = 0;
        for (nb::handle item : event.attr("items")) items.add(item, "items", j++);
        check(recblr_events_add(events, b, nb::cast<int64_t>(event.attr("seq")), nb::cast<int64_t>(event.attr("stamp")),
                                items.ids(), items.size()));
      }
    }
  }

  nb::object store_, append_class_;
  std::shared_ptr<Raised> raised_;
};

}  // namespace

Store::Store(const std::string& where, int64_t max_history, const std::string& synchronous, const std::string& prefix) {
  recblr_store_options options{};
  options.struct_size = sizeof options;
  options.max_history = max_history;
  options.synchronous = terminated(synchronous, "synchronous", RECBLR_BAD_CONFIG);
  options.prefix = terminated(prefix, "prefix", RECBLR_BAD_CONFIG);
  const char* place = terminated(where, "store", RECBLR_BAD_CONFIG);
  recblr_store* opened = nullptr;
  recblr_status status;
  {
    Released released;
    status = recblr_store_open(place, &options, &opened);
  }
  check(status);
  handle_.reset(opened);
}

Store::Store(nb::object store, int64_t max_history) : raised_(std::make_shared<Raised>()) {
  const auto callbacks = PythonStore::callbacks(new PythonStore(std::move(store), raised_), max_history);
  recblr_store* created = nullptr;
  const recblr_status status = recblr_store_create(&callbacks, &created);
  if (status != RECBLR_OK) callbacks.release(callbacks.context);
  check(status);
  handle_.reset(created);
}

void Store::Closing::operator()(recblr_store* store) const {
  if (!nb::is_alive()) return;  // the process ends
  nb::gil_scoped_release release;
  recblr_store_free(store);
}

nb::list Store::append(nb::handle events) {
  NewEvents read;
  for (nb::handle event : events) read.add(nb::object(event[0]), nb::object(event[1]), nb::object(event[2]));
  const recblr_event* given = read.events();
  std::vector<uint8_t> added(static_cast<size_t>(read.size()));
  recblr_status status;
  {
    Released released;
    status = recblr_store_append(handle(), given, read.size(), added.data());
  }
  check(status);
  nb::list found;
  for (const uint8_t is_new : added) found.append(nb::bool_(is_new != 0));
  return found;
}

nb::list Store::read(nb::handle users, nb::handle since) {
  HistoryIds ids;
  std::vector<int64_t> numbers;
  for (nb::handle user : users) ids.add(user, "user");
  for (nb::handle number : since) numbers.push_back(nb::cast<int64_t>(number));
  if (ids.size() != static_cast<int64_t>(numbers.size())) {
    raise(RECBLR_INVALID_ARGUMENT, std::to_string(numbers.size()) + " numbers since for " + std::to_string(ids.size()) +
                                       " users: give one each");
  }
  recblr_events* created = nullptr;
  check(recblr_events_create(&created));
  const std::unique_ptr<recblr_events, decltype(&recblr_events_free)> events(created, recblr_events_free);
  const recblr_id* given = ids.ids();
  recblr_status status;
  {
    Released released;
    status = recblr_store_read(handle(), given, numbers.data(), ids.size(), events.get());
  }
  check(status);
  nb::list logs;
  for (int64_t b = 0; b < ids.size(); ++b) {
    const recblr_stored_event* stored = nullptr;
    int64_t count = 0;
    check(recblr_events_of(events.get(), b, &stored, &count));
    nb::list log;
    for (int64_t j = 0; j < count; ++j) {
      log.append(nb::make_tuple(stored[j].seq, stored[j].stamp, list_of(stored[j].items, stored[j].n_items)));
    }
    logs.append(log);
  }
  return logs;
}

bool Store::forget(nb::handle user) {
  HistoryIds ids;
  ids.add(user, "user");
  const recblr_id* id = ids.ids();
  int32_t found = 0;
  recblr_status status;
  {
    Released released;
    status = recblr_store_forget(handle(), id, &found);
  }
  check(status);
  return found != 0;
}

void Store::close() {
  recblr_status status;
  {
    nb::gil_scoped_release release;  // at exit, too
    status = recblr_store_close(handle());
  }
  check(status);
}

void bind_store(nb::module_& module) {
  nb::class_<Store>(module, "Store")
      .def("__init__",
           [](Store* self, const nb::bytes& where, int64_t max_history, const std::string& synchronous,
              const std::string& prefix) {
             new (self) Store({where.c_str(), where.size()}, max_history, synchronous, prefix);
           })
      .def_static(
          "of", [](nb::object store, int64_t max_history) { return new Store(std::move(store), max_history); },
          nb::rv_policy::take_ownership)
      .def("append", &Store::append)
      .def("read", &Store::read)
      .def("forget", &Store::forget, nb::arg().none())
      .def("close", &Store::close);
}

}  // namespace recblr::python
