#include "users/recommender.h"

#include <algorithm>

#include "base/error.h"
#include "users/items_text.h"

namespace recblr {

namespace {

constexpr int64_t kFewNewItems = 1000;  // which take about as long as one

const char* name_of(IdType type) { return type == IdType::kInteger ? "integers" : "strings"; }

// Views of keys, as stores take them.
std::vector<std::string_view> views_of(const std::vector<std::string>& keys) { return {keys.begin(), keys.end()}; }

// A request without items for n users; its offsets are kept in `offsets`.
Ids no_items(int64_t n, std::vector<int64_t>* offsets) {
  offsets->assign(static_cast<size_t>(n) + 1, 0);
  Ids ids;
  ids.n_rows = n;
  ids.offsets = offsets->data();
  return ids;
}

// What a request asks besides the items of n users, which are the store's.
void encode_options(const Engine& engine, int64_t n, const Request& request, Work* work) {
  std::vector<int64_t> offsets;
  const Ids items = no_items(n, &offsets);
  Request asked = request;
  asked.items = &items;
  asked.states = nullptr;
  asked.new_states = nullptr;
  asked.exclude_seen = false;
  engine.encode(asked, work);
}

}  // namespace

Recommender::Recommender(std::shared_ptr<Engine> engine, std::shared_ptr<Store> store, int64_t cache_bytes)
    : store_(std::move(store)),
      cache_bytes_(cache_bytes),
      fork_guard_("Recommender"),
      serving_(std::make_shared<Serving>(std::move(engine), store_, cache_bytes, counts_)) {}

void Recommender::check_usable() const {
  if (fork_guard_.forked()) {
    refuse(Code::kFork,
           "the Recommender was made in the process that this one is a fork of: make the Recommender after the fork");
  }
  if (is_closed_) refuse(Code::kClosed, "the Recommender is closed: make a new one");
}

std::shared_ptr<Serving> Recommender::serving() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return serving_;
}

std::shared_ptr<Engine> Recommender::engine() const { return serving()->engine(); }

std::vector<std::string> Recommender::recent_users(int64_t n) const {
  check_usable();
  return serving()->cache().recent_users(n);
}

UserMetrics Recommender::metrics() const {
  check_usable();
  UserMetrics metrics;
  std::shared_ptr<Serving> serving;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    serving = serving_;
    metrics.evictions = evictions_before_;
  }
  metrics.cached_users = serving->cache().size();
  metrics.cached_bytes = serving->cache().bytes();
  metrics.evictions += serving->cache().evictions();
  metrics.state_hits = counts_->state_hits;
  metrics.state_rebuilds = counts_->state_rebuilds;
  return metrics;
}

void Recommender::add_events(const EventView* events, int64_t n, uint8_t* added) { add(events, n, true, added); }

bool Recommender::add_events_now(const EventView* events, int64_t n, uint8_t* added) {
  int64_t n_items = 0;
  for (int64_t j = 0; j < n; ++j) n_items += std::max<int64_t>(events[j].n_items, 1);
  return n_items <= kFewNewItems && add(events, n, false, added);
}

bool Recommender::add(const EventView* events, int64_t n, bool may_wait, uint8_t* added) {
  check_usable();
  std::vector<NewEvent> filled;
  filled.reserve(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    const EventView& event = events[j];
    NewEvent checked = new_event(event.user, event.items, event.n_items, event.event_id, store_->max_history());
    if (event.n_items > 0) filled.push_back(std::move(checked));
  }
  std::vector<Appended> appended(filled.size());
  const auto n_filled = static_cast<int64_t>(filled.size());
  if (n_filled > 0 && may_wait) store_->append(filled.data(), n_filled, appended.data());
  if (n_filled > 0 && !may_wait && !store_->append_now(filled.data(), n_filled, appended.data())) return false;
  std::shared_ptr<Serving> serving, next;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    serving = serving_;
    next = next_;
  }
  size_t at = 0;
  for (int64_t j = 0; j < n; ++j) {
    const EventView& event = events[j];
    added[j] = 0;
    if (event.n_items == 0) continue;
    const NewEvent& stored = filled[at];
    added[j] = static_cast<uint8_t>(appended[at].is_new);
    const Id* items = event.items + (event.n_items - stored.n_items);
    serving->add(stored.user, appended[at], items, stored.n_items);
    if (next != nullptr) next->add(stored.user, appended[at], items, stored.n_items);
    ++at;
  }
  return true;
}

Log Recommender::history(const Id& user, int64_t* first_item) {
  check_usable();
  check_id(user, "user");
  const std::string key = key_of(user);
  const std::string_view view = key;
  const Place all;
  Log log;
  store_->read(&view, &all, 1, &log);
  if (!log.fault.empty()) refuse(Code::kStore, log.fault + "; nothing was read; remove it, or forget the user");
  int64_t n_items = 0;
  for (const Log::Event& event : log.events) {
    ItemsReader reader(log.items(event));
    for (Id item; reader.next(&item);) ++n_items;
    if (!reader.ended_well()) {
      refuse(Code::kStore, "the history of user " + shown(user) +
                               " holds an event that is no list of item ids; nothing was read; forget the user");
    }
  }
  *first_item = store_->max_history() ? std::max<int64_t>(n_items - *store_->max_history(), 0) : 0;
  return log;
}

bool Recommender::forget(const Id& user) {
  check_usable();
  check_id(user, "user");
  const std::string key = key_of(user);
  const bool found = store_->forget(key);
  std::shared_ptr<Serving> serving, next;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    serving = serving_;
    next = next_;
  }
  if (next != nullptr) next->cache().drop(key);
  serving->cache().drop(key);
  return found;
}

std::shared_ptr<const Bundle> Recommender::recommend(const Id* users, int64_t n, const Request& request, Work* work) {
  check_usable();
  const std::shared_ptr<Serving> serving = this->serving();
  std::vector<std::string> keys;
  keys.reserve(static_cast<size_t>(n));
  for (int64_t b = 0; b < n; ++b) {
    check_id(users[b], "users", b);
    keys.push_back(key_of(users[b]));
  }
  encode_options(*serving->engine(), n, request, work);
  serving->rank(views_of(keys).data(), n, request.exclude_seen, request.timeout, work);
  return serving->engine()->bundle();
}

std::shared_ptr<const Bundle> Recommender::recommend_now(const Id& user, const Request& request, Work* work) {
  check_usable();
  const std::shared_ptr<Serving> serving = this->serving();
  check_id(user, "users", 0);
  encode_options(*serving->engine(), 1, request, work);
  return serving->rank_now(key_of(user), request.exclude_seen, work) ? serving->engine()->bundle() : nullptr;
}

void Recommender::swap(std::shared_ptr<Engine> engine, int64_t rebuild, bool allow_id_type_change) {
  check_usable();
  const std::lock_guard<std::mutex> one_at_a_time(swapping_);
  const std::shared_ptr<Serving> old = serving();
  const auto fresh = std::make_shared<Serving>(std::move(engine), store_, cache_bytes_, counts_);
  const Bundle& bundle = *fresh->engine()->bundle();
  const IdType old_type = old->engine()->bundle()->vocabulary().type(), new_type = bundle.vocabulary().type();
  if (new_type != old_type && !allow_id_type_change) {
    refuse(Code::kConfig, "the item ids of " + bundle.path() + " are " + name_of(new_type) +
                              ", those of the model in place " + name_of(old_type) +
                              ": train it with ids of one type, or swap with allow_id_type_change=True");
  }
  std::vector<int64_t> offsets;
  Request request;
  request.k = 1;
  Work work;
  const Ids row = no_items(1, &offsets);
  request.items = &row;
  fresh->engine()->encode(request, &work);
  work.items.assign(1, 1);  // the first run allocates
  work.item_offsets.assign({0, 1});
  fresh->engine()->run(&work, kRebuildTimeout);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ = fresh;
  }
  const auto end = [this](std::shared_ptr<Serving> chosen) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (chosen != serving_) evictions_before_ += serving_->cache().evictions();
    serving_.swap(chosen);
    next_ = nullptr;
  };
  try {
    std::vector<std::string> users = old->cache().recent_users(rebuild);
    std::reverse(users.begin(), users.end());  // so that the latest end as the latest
    const auto n = static_cast<int64_t>(users.size());
    const Ids rows = no_items(n, &offsets);
    request.items = &rows;
    fresh->engine()->encode(request, &work);
    fresh->rebuild(views_of(users).data(), n, &work);
  } catch (...) {
    end(old);
    throw;
  }
  end(fresh);
}

}  // namespace recblr
