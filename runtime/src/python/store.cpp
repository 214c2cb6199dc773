#include "python/store.h"

#include <nanobind/stl/string.h>

#include <functional>
#include <utility>
#include <vector>

#include "python/errors.h"
#include "python/history_ids.h"
#include "python/ids.h"
#include "python/numbers.h"
#include "python/python_store.h"
#include "python/waiting.h"

namespace recblr::python {
namespace {

std::shared_ptr<recblr_store> owned(recblr_store* store) {
  return {store, [](recblr_store* owned) {
            if (!nb::is_alive()) return;  // the process ends
            nb::gil_scoped_release release;
            recblr_store_free(owned);
          }};
}

// Makes a call of the library's own stores.
void make(bool waits, std::function<recblr_status()> call) {
  const Outcome outcome = waits ? interruptible(std::move(call)) : released(call);
  if (outcome.status != RECBLR_OK) raise(outcome.status, outcome.message);
}

struct Events {
  Events() { check(recblr_events_create(&events)); }
  ~Events() { recblr_events_free(events); }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  recblr_events* events = nullptr;
};

}  // namespace

Store::Store(const std::string& where, int64_t max_history, const std::string& synchronous, const std::string& prefix)
    : waits_to_write_(!where.empty()), waits_to_read_(where.find("://") != std::string::npos) {
  terminated(synchronous, "synchronous", RECBLR_BAD_CONFIG);
  terminated(prefix, "prefix", RECBLR_BAD_CONFIG);
  terminated(where, "store", RECBLR_BAD_CONFIG);
  const auto opened = std::make_shared<std::shared_ptr<recblr_store>>();
  make(waits_to_write_, [=] {
    recblr_store_options options{};
    options.struct_size = sizeof options;
    options.max_history = max_history;
    options.synchronous = synchronous.c_str();
    options.prefix = prefix.c_str();
    recblr_store* store = nullptr;
    const recblr_status status = recblr_store_open(where.c_str(), &options, &store);
    if (status == RECBLR_OK) *opened = owned(store);
    return status;
  });
  handle_ = *opened;
}

Store::Store(nb::object store, int64_t max_history) : python_store_(std::make_shared<PythonStore>(std::move(store))) {
  const auto callbacks = python_store_->callbacks(max_history);
  recblr_store* created = nullptr;
  const recblr_status status = recblr_store_create(&callbacks, &created);
  if (status != RECBLR_OK) callbacks.release(callbacks.context);
  check(status);
  handle_ = owned(created);
}

const Raised* Store::raised() const { return python_store_ == nullptr ? nullptr : &python_store_->raised(); }

int Store::visit(const Visitor& visitor) const { return python_store_ == nullptr ? 0 : python_store_->visit(visitor); }

void Store::clear() {
  if (python_store_ != nullptr) python_store_->clear();
}

nb::list Store::append(nb::handle events) {
  const auto read = std::make_shared<NewEvents>();
  read->add_all(events);
  const auto added = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(read->size()));
  make(waits_to_write_, [handle = handle_, read, added] {
    return recblr_store_append(handle.get(), read->events(), read->size(), added->data());
  });
  nb::list found;
  for (const uint8_t is_new : *added) found.append(nb::bool_(is_new != 0));
  return found;
}

nb::list Store::read(nb::handle users, nb::handle since) {
  const auto ids = std::make_shared<HistoryIds>();
  const auto numbers = std::make_shared<std::vector<int64_t>>();
  for (const auto& [given, name] : {std::pair(users, "users"), std::pair(since, "since")}) {
    if (!is_sequence(given))
      raise(RECBLR_INVALID_ARGUMENT, std::string(name) + " is " + shown(given) + ": give a list");
  }
  for (nb::handle user : nb::list(as_list(users))) ids->add(user, "user");
  for (nb::handle given : nb::list(as_list(since))) {
    int64_t number = 0;
    if (!as_whole(given, &number)) {
      raise(RECBLR_INVALID_ARGUMENT, "since is " + shown(given) + ": give the number of an event, 0 for all");
    }
    numbers->push_back(number);
  }
  if (ids->size() != static_cast<int64_t>(numbers->size())) {
    raise(RECBLR_INVALID_ARGUMENT, std::to_string(numbers->size()) + " numbers since for " +
                                       std::to_string(ids->size()) + " users: give one each");
  }
  const auto events = std::make_shared<Events>();
  make(waits_to_read_, [handle = handle_, ids, numbers, events] {
    return recblr_store_read(handle.get(), ids->ids(), numbers->data(), ids->size(), events->events);
  });
  nb::list logs;
  for (int64_t b = 0; b < ids->size(); ++b) {
    const recblr_stored_event* stored = nullptr;
    int64_t count = 0;
    check(recblr_events_of(events->events, b, &stored, &count));
    nb::list log;
    for (int64_t j = 0; j < count; ++j) {
      log.append(nb::make_tuple(stored[j].seq, stored[j].stamp, list_of(stored[j].items, stored[j].n_items)));
    }
    logs.append(log);
  }
  return logs;
}

bool Store::forget(nb::handle user) {
  const auto ids = std::make_shared<HistoryIds>();
  ids->add(user, "user");
  const auto found = std::make_shared<int32_t>(0);
  make(waits_to_write_,
       [handle = handle_, ids, found] { return recblr_store_forget(handle.get(), ids->ids(), found.get()); });
  return *found != 0;
}

void Store::close() {
  const Outcome outcome = closing([handle = handle_] { return recblr_store_close(handle.get()); });
  if (outcome.status != RECBLR_OK) raise(outcome.status, outcome.message);
}

void bind_store(nb::module_& module) {
  nb::class_<Store>(module, "Store", nb::type_slots(Collected<Store>::slots))
      .def("__init__",
           [](Store* self, const nb::bytes& where, int64_t max_history, const std::string& synchronous,
              const std::string& prefix) {
             new (self) Store({where.c_str(), where.size()}, max_history, synchronous, prefix);
           })
      .def_static(
          "of", [](nb::object store, int64_t max_history) { return new Store(std::move(store), max_history); },
          nb::rv_policy::take_ownership)
      .def("append", &Store::append, nb::arg().none())
      .def("read", &Store::read, nb::arg().none(), nb::arg().none())
      .def("forget", &Store::forget, nb::arg().none())
      .def("close", &Store::close);
}

}  // namespace recblr::python
