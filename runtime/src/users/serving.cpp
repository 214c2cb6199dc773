#include "users/serving.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "users/items_text.h"
#include "users/log.h"

namespace recblr {

namespace {

constexpr size_t kFewItems = 16;       // that are fed without anybody waiting for it
constexpr int64_t kMostAtOnce = 1024;  // users whose states and histories are in memory at once, the cache's aside

// For the rankings of n users.
void make_room(int64_t n, Work* work) {
  const auto n_results = static_cast<size_t>(n * work->k);
  work->top_items.resize(n_results);
  work->top_scores.resize(n_results);
  work->counts.resize(static_cast<size_t>(n));
  work->popular.resize(static_cast<size_t>(n));
}

// Appends the union of two ascending lists.
void append_union(ItemList a, const std::vector<int32_t>& b, std::vector<int32_t>* out) {
  if (a.count == 0) {
    out->insert(out->end(), b.begin(), b.end());
  } else {
    std::set_union(a.items, a.items + a.count, b.begin(), b.end(), std::back_inserter(*out));
  }
}

}  // namespace

// All memory for some users of a request.
struct Serving::Part {
  Work work;
  std::vector<float> states;  // [n, S]
  std::vector<UserItems> items;
  std::vector<StateCache::Ticket> tickets;
  std::vector<Place> places;
  std::vector<uint8_t> is_changed;  // what came is to be kept
  std::vector<Log> logs;
  std::vector<int32_t> indices;
  int64_t hits, rebuilds;  // of cached states
};

// A Part, given back at the end.
class Serving::Lease {
 public:
  explicit Lease(Serving* serving) : serving_(serving) {
    const std::lock_guard<std::mutex> lock(serving->mutex_);
    if (!serving->idle_.empty()) {
      part_ = std::move(serving->idle_.back());
      serving->idle_.pop_back();
    }
  }
  ~Lease() {
    const std::lock_guard<std::mutex> lock(serving_->mutex_);
    serving_->idle_.push_back(std::move(part_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Part* part() {
    if (part_ == nullptr) part_ = std::make_unique<Part>();
    return part_.get();
  }

 private:
  Serving* serving_;
  std::unique_ptr<Part> part_;
};

Serving::Serving(std::shared_ptr<Engine> engine, std::shared_ptr<Store> store, int64_t cache_bytes,
                 std::shared_ptr<UserCounts> counts)
    : engine_(std::move(engine)),
      store_(std::move(store)),
      cache_(engine_->bundle()->state_size(), cache_bytes, store_->max_history()),
      counts_(std::move(counts)) {}

Serving::~Serving() = default;

int32_t Serving::index_of(const Id& item) {
  const Vocabulary& vocabulary = engine_->bundle()->vocabulary();
  const bool is_integer_model = vocabulary.type() == IdType::kInteger;
  if (item.type == IdType::kInteger) {
    if (item.text.data() == nullptr) return vocabulary.index(item.integer);
    return is_integer_model ? 0 : vocabulary.index(item.text);  // beyond 64 bits
  }
  const int32_t index = vocabulary.index(item.text);
  if (index == 0 && is_integer_model && !vocabulary.can_be_id(item.text) && !has_warned_.exchange(true)) {
    log(LogLevel::kWarning,
        "histories hold item ids that are text, which the model in place cannot know, as its ids are integers: they "
        "are skipped; is it the model of these histories?");
  }
  return index;
}

void Serving::add(std::string_view user, const Appended& appended, const Id* items, int64_t n) {
  if (!appended.is_new || appended.place.seq == 0) return;
  const Place before{appended.place.seq - 1, appended.stamp_before};
  if (!cache_.ends_with(user, before)) return;
  constexpr int64_t kFew = 16;
  int32_t few[kFew];
  std::vector<int32_t> many;
  int32_t* indices = few;
  if (n > kFew) {
    many.resize(static_cast<size_t>(n));
    indices = many.data();
  }
  for (int64_t j = 0; j < n; ++j) indices[j] = index_of(items[j]);
  cache_.add(user, before, appended.place, indices, n);
}

void Serving::rank(const std::string_view* users, int64_t n, bool exclude_seen, std::optional<double> timeout,
                   Work* work) {
  make_room(n, work);
  Lease lease(this);
  for (int64_t begin = 0; begin < n; begin += kMostAtOnce) {
    rank_part(users, begin, std::min(n, begin + kMostAtOnce), {exclude_seen, true, n == 1, timeout}, work,
              lease.part());
  }
}

void Serving::rebuild(const std::string_view* users, int64_t n, Work* work) {
  make_room(n, work);
  Lease lease(this);
  for (int64_t user = 0; user < n; ++user) {
    const auto began = std::chrono::steady_clock::now();
    rank_part(users, user, user + 1, {false, true, false, kRebuildTimeout}, work, lease.part());
    if (user + 1 < n) std::this_thread::sleep_for(std::chrono::steady_clock::now() - began);
  }
}

bool Serving::rank_now(std::string_view user, bool exclude_seen, Work* work) {
  if (store_->waits()) return false;
  make_room(1, work);
  Lease lease(this);
  return rank_part(&user, 0, 1, {exclude_seen, false, true, std::nullopt}, work, lease.part());
}

bool Serving::rank_part(const std::string_view* users, int64_t begin, int64_t end, const How& how, Work* whole,
                        Part* part) {
  const int64_t n = end - begin, size = engine_->bundle()->state_size();
  const auto rows = static_cast<size_t>(n);
  users += begin;
  part->states.resize(static_cast<size_t>(n * size));
  if (part->items.size() < rows) part->items.resize(rows);
  if (part->logs.size() < rows) part->logs.resize(rows);
  part->tickets.resize(rows);
  part->places.resize(rows);
  part->is_changed.assign(rows, 0);
  for (size_t b = 0; b < rows; ++b) {
    part->tickets[b] = cache_.take(users[b], &part->items[b], part->states.data() + static_cast<int64_t>(b) * size);
    part->places[b] = part->items[b].place;
    if (!how.may_wait && part->places[b].seq == 0) return false;  // perhaps a long history is to be read
  }
  store_->read(users, part->places.data(), n, part->logs.data());

  Work& work = part->work;
  work.n_rows = n;
  work.k = whole->k;
  work.items.clear();
  work.item_offsets.assign(1, 0);
  work.exclude.clear();
  work.exclude_offsets.assign(1, 0);
  work.unknown.assign(rows, 0);
  work.allowed.clear();
  work.has_only.clear();
  if (!whole->has_only.empty()) {
    work.allowed.assign(whole->allowed.begin() + begin, whole->allowed.begin() + end);
    work.has_only.assign(whole->has_only.begin() + begin, whole->has_only.begin() + end);
  }
  part->hits = part->rebuilds = 0;
  for (size_t b = 0; b < rows; ++b) {
    const auto row = static_cast<int64_t>(b);
    bring_up_to_date(users[b], part->logs[b], how.is_alone, row, part);
    work.item_offsets.push_back(static_cast<int64_t>(work.items.size()));
    const int64_t* offsets = whole->exclude_offsets.data() + begin + row;
    const ItemList asked{whole->exclude.data() + offsets[0], offsets[1] - offsets[0]};
    static const std::vector<int32_t> kNothing;
    append_union(asked, how.exclude_seen ? part->items[b].seen : kNothing, &work.exclude);
    work.exclude_offsets.push_back(static_cast<int64_t>(work.exclude.size()));
  }
  work.states = part->states.data();
  work.new_states = nullptr;
  if (!how.may_wait && (work.items.size() > kFewItems || !engine_->run_now(&work))) return false;
  if (how.may_wait) engine_->run(&work, how.timeout);
  engine_->finish(&work);
  counts_->state_hits += part->hits;
  counts_->state_rebuilds += part->rebuilds;

  for (size_t b = 0; b < rows; ++b) {
    if (part->is_changed[b] != 0) {
      cache_.put(users[b], part->tickets[b], part->items[b], work.new_states + static_cast<int64_t>(b) * size);
    }
  }
  const int64_t k = whole->k;
  std::copy_n(work.top_items.begin(), n * k, whole->top_items.begin() + begin * k);
  std::copy_n(work.top_scores.begin(), n * k, whole->top_scores.begin() + begin * k);
  std::copy_n(work.counts.begin(), n, whole->counts.begin() + begin);
  std::copy_n(work.popular.begin(), n, whole->popular.begin() + begin);
  return true;
}

// Joins what the cache holds of a user with what the store says came since, and appends what the state lacks to the
// row's items. A state that the history does not continue gives way to the initial one, and all of the history.
void Serving::bring_up_to_date(std::string_view user, const Log& log, bool is_alone, int64_t row, Part* part) {
  const auto b = static_cast<size_t>(row);
  const Bundle& bundle = *engine_->bundle();
  UserItems& items = part->items[b];
  const bool is_cached = items.place.seq > 0;
  std::string fault = log.fault;
  bool is_new_state = !is_cached || !log.continues;
  if (is_new_state) items.clear();
  if (fault.empty() && !add_log(log, &part->indices, &items)) {
    fault = "the history of user " + shown(id_of_key(user)) + " holds an event that is no list of item ids";
  }
  if (!fault.empty()) {
    if (is_alone) refuse(Code::kStore, fault + "; nothing was read; remove it, or forget the user");
    // Without the user's id, which the fault names: services keep none in their logs.
    recblr::log(LogLevel::kWarning,
                "a user's history cannot be read, and the user is answered as a new one: ask for each of the request's "
                "users alone, to be told which and why");
    items.clear();
    is_new_state = true;
  }
  const bool has_new = items.n_new > 0 || !log.events.empty();
  if (items.is_state_outdated(store_->max_history())) {
    items.n_new = static_cast<int64_t>(items.recent.size());
    is_new_state = true;
  }
  if (is_new_state) {
    const std::vector<float>& initial = bundle.initial_state();
    std::copy(initial.begin(), initial.end(), part->states.begin() + row * bundle.state_size());
    if (is_cached && log.events.empty() && !log.continues) cache_.drop(user);  // forgotten through another process
  }
  const size_t n_fed = part->work.items.size();
  items.feed(store_->max_history(), &part->work.items);
  if (!is_new_state) {
    ++part->hits;
  } else if (part->work.items.size() > n_fed) {
    ++part->rebuilds;
  }
  part->is_changed[b] = static_cast<uint8_t>(has_new && fault.empty());
}

// Adds a log's events to a user's items; false where one cannot be read.
bool Serving::add_log(const Log& log, std::vector<int32_t>* indices, UserItems* items) {
  for (const Log::Event& event : log.events) {
    indices->clear();
    ItemsReader reader(log.items(event));
    for (Id item; reader.next(&item);) indices->push_back(index_of(item));
    if (!reader.ended_well()) return false;
    items->add(indices->data(), static_cast<int64_t>(indices->size()), store_->max_history());
    items->place = {event.seq, event.stamp};
  }
  return true;
}

}  // namespace recblr
