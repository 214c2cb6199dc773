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
  python::check(
      recblr_recommender_create(this->engine().handle().get(), this->store().handle().get(), &options, &created));
  handle_ = std::shared_ptr<recblr_recommender>(created, [](recblr_recommender* recommender) {
    if (!nb::is_alive()) return;  // the process ends
    nb::gil_scoped_release release;
    recblr_recommender_free(recommender);
  });
}

void Recommender::make(bool waits, std::function<recblr_status()> call) const {
  const nb::object engine = engine_;  // another one may take its place meanwhile
  check(waits ? interruptible(std::move(call)) : released(call), engine);
}

void Recommender::check(const Outcome& outcome, nb::handle engine) const {
  if (outcome.status == RECBLR_OK) return;
  const Raised* by_store = store().raised();
  const bool is_of_store = by_store != nullptr && by_store->knows(outcome.message);
  raise(is_of_store ? by_store->exception_of(outcome.status, outcome.message)
                    : nb::cast<const Engine&>(engine).exception_of(outcome.status, outcome.message));
}

struct Recommender::Adding {
  NewEvents read;
  std::vector<uint8_t> added;
};

std::vector<uint8_t> Recommender::add(const std::shared_ptr<Adding>& adding) {
  adding->added.resize(static_cast<size_t>(adding->read.size()));
  // Another thread costs more than the disk: where there is nothing to wait for, the main thread needs none.
  if (store().waits_to_write() && !store().waits_to_read() && is_main_thread()) {
    int32_t is_done = 0;
    make(false, [&] {
      NewEvents& read = adding->read;
      return recblr_recommender_add_events_now(handle_.get(), read.events(), read.size(), adding->added.data(),
                                               &is_done);
    });
    if (is_done != 0) return std::move(adding->added);
  }
  make(store().waits_to_write(), [handle = handle_, adding] {
    NewEvents& read = adding->read;
    return recblr_recommender_add_events(handle.get(), read.events(), read.size(), adding->added.data());
  });
  return std::move(adding->added);
}

bool Recommender::add_event(nb::handle user, nb::handle items, nb::handle event_id) {
  const auto adding = std::make_shared<Adding>();
  adding->read.add(user, items, event_id);
  return add(adding)[0] != 0;
}

nb::list Recommender::add_events(nb::handle events) {
  const auto adding = std::make_shared<Adding>();
  adding->read.add_all(events);
  nb::list found;
  for (const uint8_t is_new : add(adding)) found.append(nb::bool_(is_new != 0));
  return found;
}

nb::list Recommender::history(nb::handle user) {
  const auto ids = std::make_shared<HistoryIds>();
  ids->add(user, "user");
  const auto items = std::make_shared<IdList>();
  make(store().waits_to_read(),
       [handle = handle_, ids, items] { return recblr_recommender_history(handle.get(), ids->ids(), items->get()); });
  return items->objects();
}

bool Recommender::forget(nb::handle user) {
  const auto ids = std::make_shared<HistoryIds>();
  ids->add(user, "user");
  const auto found = std::make_shared<int32_t>(0);
  make(store().waits_to_write(),
       [handle = handle_, ids, found] { return recblr_recommender_forget(handle.get(), ids->ids(), found.get()); });
  return *found != 0;
}

nb::list Recommender::recommend(nb::handle users, int64_t k, bool exclude_seen, nb::handle exclude, nb::handle only) {
  const auto ids = std::make_shared<HistoryIds>();
  nb::object list = as_list(users);
  for (Py_ssize_t b = 0; b < PySequence_Size(list.ptr()); ++b) ids->add(item_at(list, b), "users", b);
  const auto request = std::make_shared<Request>(engine().bundle(), nb::list(), k, exclude_seen, exclude, only, false);
  const auto result = std::make_shared<Result>();
  // What is written in Python hears signals by itself, and may hold locks of this thread.
  const bool waits = store().raised() == nullptr && (store().waits_to_read() || engine().is_busy());
  make(waits, [handle = handle_, ids, request, result] {
    return recblr_recommender_recommend(handle.get(), ids->ids(), ids->size(), request->get(), result->get());
  });
  return rankings(result->get());
}

nb::list Recommender::recent_users(int64_t n) const {
  const IdList users;
  make(false, [&] { return recblr_recommender_recent_users(handle_.get(), n, users.get()); });
  return users.objects();
}

// Not interrupted: its caller would not know which model is in place.
void Recommender::swap(nb::object engine, int64_t rebuild, bool allow_id_type_change) {
  const std::shared_ptr<recblr_engine> handle = nb::cast<const Engine&>(engine).handle();
  const Outcome outcome = released(
      [&] { return recblr_recommender_swap(handle_.get(), handle.get(), rebuild, allow_id_type_change ? 1 : 0); });
  check(outcome, engine);
  engine_ = std::move(engine);
}

void Recommender::close() {
  const Outcome outcome = closing([handle = handle_] { return recblr_recommender_close(handle.get()); });
  if (outcome.status != RECBLR_OK) raise(outcome.status, outcome.message);
}

int Recommender::visit(const Visitor& visitor) const {
  if (const int stop = visitor(engine_)) return stop;
  return visitor(store_);
}

void Recommender::clear() { const nb::object engine = std::move(engine_), store = std::move(store_); }

void bind_recommender(nb::module_& module) {
  nb::class_<Recommender>(module, "Recommender", nb::type_slots(Collected<Recommender>::slots))
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
