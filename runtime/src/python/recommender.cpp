#include "python/recommender.h"

#include <utility>
#include <vector>

#include "python/answer.h"
#include "python/errors.h"
#include "python/history_ids.h"
#include "python/ids.h"
#include "python/released.h"
#include "python/request.h"

namespace recblr::python {
namespace {

// Ids that the library gives.
class IdList {
 public:
  IdList() { check(recblr_id_list_create(&list_)); }
  ~IdList() { recblr_id_list_free(list_); }
  IdList(const IdList&) = delete;
  IdList& operator=(const IdList&) = delete;
  recblr_id_list* get() const { return list_; }
  nb::list objects() const { return list_of(recblr_id_list_ids(list_), recblr_id_list_size(list_)); }

 private:
  recblr_id_list* list_ = nullptr;
};

// Never destroyed: the interpreter may be gone when that would happen.
nb::object* logger = nullptr;

void tell(void*, int32_t level, const char* message) {
  if (!nb::is_alive()) return;
  nb::gil_scoped_acquire acquire;
  try {
    logger->attr("log")(nb::int_(level), nb::str("%s"), text_of(message, std::char_traits<char>::length(message)));
  } catch (nb::python_error& error) {
    error.discard_as_unraisable("recblr's logger");
  }
}

}  // namespace

void init_log() {
  logger = new nb::object(nb::module_::import_("logging").attr("getLogger")("recblr.runtime"));
  check(recblr_set_logger(tell, nullptr));
}

Recommender::Recommender(nb::object engine, nb::object store, int64_t cache_bytes)
    : engine_(std::move(engine)), store_(std::move(store)) {
  recblr_recommender_options options{};
  options.struct_size = sizeof options;
  options.cache_bytes = cache_bytes;
  options.no_cache = cache_bytes == 0 ? 1 : 0;
  recblr_recommender* created = nullptr;
  check(recblr_recommender_create(this->engine().handle(), this->store().handle(), &options, &created));
  handle_.reset(created);
}

void Recommender::Closing::operator()(recblr_recommender* recommender) const {
  if (!nb::is_alive()) return;  // the process ends
  nb::gil_scoped_release release;
  recblr_recommender_free(recommender);
}

template <typename Call>
void Recommender::checked(const Call& call) const {
  recblr_status status;
  std::string message;
  {
    Released released;
    status = call();
    if (status != RECBLR_OK) message = recblr_last_error();
  }
  if (status == RECBLR_OK) return;
  const Raised* by_store = store().raised();
  raise(by_store != nullptr && by_store->knows(message) ? by_store->exception_of(status, message)
                                                        : engine().exception_of(status, message));
}

bool Recommender::add_event(nb::handle user, nb::handle items, nb::handle event_id) {
  NewEvents read;
  read.add(user, items, event_id);
  const recblr_event* event = read.events();
  uint8_t added = 0;
  checked([&] { return recblr_recommender_add_events(handle_.get(), event, 1, &added); });
  return added != 0;
}

nb::list Recommender::add_events(nb::handle events) {
  NewEvents read;
  for (nb::handle event : events) read.add(nb::object(event[0]), nb::object(event[1]), nb::object(event[2]));
  const recblr_event* given = read.events();
  std::vector<uint8_t> added(static_cast<size_t>(read.size()));
  checked([&] { return recblr_recommender_add_events(handle_.get(), given, read.size(), added.data()); });
  nb::list found;
  for (const uint8_t is_new : added) found.append(nb::bool_(is_new != 0));
  return found;
}

nb::list Recommender::history(nb::handle user) {
  HistoryIds ids;
  ids.add(user, "user");
  const recblr_id* id = ids.ids();
  const IdList items;
  checked([&] { return recblr_recommender_history(handle_.get(), id, items.get()); });
  return items.objects();
}

bool Recommender::forget(nb::handle user) {
  HistoryIds ids;
  ids.add(user, "user");
  const recblr_id* id = ids.ids();
  int32_t found = 0;
  checked([&] { return recblr_recommender_forget(handle_.get(), id, &found); });
  return found != 0;
}

nb::list Recommender::recommend(nb::handle users, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only) {
  HistoryIds ids;
  nb::object list = as_list(users);
  for (Py_ssize_t b = 0; b < PySequence_Size(list.ptr()); ++b) ids.add(item_at(list, b), "users", b);
  const recblr_id* given = ids.ids();
  Request request(engine().bundle(), nb::list(), k, exclude_seen, exclude, only, false);
  const Result result;
  checked([&] { return recblr_recommender_recommend(handle_.get(), given, ids.size(), request.get(), result.get()); });
  return rankings(result.get());
}

nb::list Recommender::recent_users(int64_t n) const {
  const IdList users;
  checked([&] { return recblr_recommender_recent_users(handle_.get(), n, users.get()); });
  return users.objects();
}

void Recommender::swap(nb::object engine, int64_t rebuild, bool allow_id_type_change) {
  recblr_engine* handle = nb::cast<const Engine&>(engine).handle();
  checked([&] { return recblr_recommender_swap(handle_.get(), handle, rebuild, allow_id_type_change ? 1 : 0); });
  engine_ = std::move(engine);
}

void Recommender::close() {
  recblr_status status;
  {
    nb::gil_scoped_release release;  // at exit, too
    status = recblr_recommender_close(handle_.get());
  }
  check(status);
}

void bind_recommender(nb::module_& module) {
  nb::class_<Recommender>(module, "Recommender")
      .def(nb::init<nb::object, nb::object, int64_t>())
      .def("add_event", &Recommender::add_event, nb::arg().none(), nb::arg().none(), nb::arg().none())
      .def("add_events", &Recommender::add_events)
      .def("history", &Recommender::history, nb::arg().none())
      .def("forget", &Recommender::forget, nb::arg().none())
      .def("recommend", &Recommender::recommend, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none())
      .def("recent_users", &Recommender::recent_users)
      .def("swap", &Recommender::swap)
      .def("close", &Recommender::close);
}

}  // namespace recblr::python
