#include "users/stores/redis.h"

#include <openssl/sha.h>

#include <charconv>

#include "base/error.h"
#include "users/log.h"
#include "users/stores/redis_scripts.h"

namespace recblr {

namespace {

constexpr char kNotKnown[] = "whether it was stored is not known; repeat it with its event_id";

// The server refused as it does not lead any more, or not yet; nothing was done.
class DoesNotLead : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

std::string sha1_of(std::string_view script) {
  constexpr char kHex[] = "0123456789abcdef";
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<const unsigned char*>(script.data()), script.size(), digest);
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += kHex[byte >> 4];
    hex += kHex[byte & 15];
  }
  return hex;
}

const std::string& append_sha() {
  static const std::string sha = sha1_of(kAppendScript);
  return sha;
}

const std::string& read_sha() {
  static const std::string sha = sha1_of(kReadScript);
  return sha;
}

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// What a server says, without where in a script it came to say so: servers differ in that.
std::string reason_of(std::string_view text) {
  if (text.substr(0, 25) == "ERR Error running script ")
    text.remove_prefix(std::min(text.find("): ") + 3, text.size()));
  while (text.substr(0, 12) == "@user_script") {
    const size_t end = text.find(": ", text.find_first_of("0123456789"));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 2);
  }
  if (!text.empty() && text[0] == '-') text.remove_prefix(1);
  return one_line(text.substr(0, text.rfind(" script: ")));
}

// The user's keys hold something that is no history; nothing was done.
bool is_no_history(std::string_view reason) { return holds(reason, "WRONGTYPE ") || holds(reason, "NOHISTORY "); }

std::string no_history(std::string_view user, const std::string& reason) {
  return "the keys of user " + shown(id_of_key(user)) + " hold something else than a history (" + reason + ")";
}

bool parse_number(std::string_view* text, int64_t* number) {
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc() || end == text->data() + text->size() || *end != ' ') return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()) + 1);
  return true;
}

// Adds an event as it is kept to a log; false where it is none.
bool add_event(std::string_view entry, Log* log) {
  int64_t seq, total, stamp, length;
  if (!parse_number(&entry, &seq) || !parse_number(&entry, &total) || !parse_number(&entry, &stamp) ||
      !parse_number(&entry, &length) || length < 0 || static_cast<size_t>(length) >= entry.size()) {
    return false;
  }
  log->add(seq, stamp, entry.substr(static_cast<size_t>(length) + 1));
  return true;
}

void read_events(const redisReply& reply, std::string_view user, Log* log) {
  for (size_t j = 0; j < reply.elements; ++j) {
    if (add_event(text_of(*reply.element[j]), log)) continue;
    log->clear();
    log->fault = no_history(user, "its entry " + std::to_string(j + 1) + " is no event");
    return;
  }
}

std::string field(std::string_view info, const std::string& name) {
  const size_t begin = info.find("\n" + name + ":");
  if (begin == std::string_view::npos) return "";
  const std::string_view value = info.substr(begin + name.size() + 2);
  return std::string(value.substr(0, value.find_first_of("\r\n")));
}

}  // namespace

RedisStore::RedisStore(std::string_view address, std::optional<int64_t> max_history, const std::string& prefix)
    : Store(max_history), address_(parse_redis_address(address)), prefix_(prefix) {
  try {
    tls_ = make_tls(address_);
  } catch (const RedisError& error) {
    fail(error.what(), "nothing was opened");
  }
  check_server();
}

RedisStore::~RedisStore() {
  if (forked()) {
    for (auto& connection : idle_) connection.release();  // TLS would say good-bye in the parent's name
  }
}

void RedisStore::check_server() {
  std::string info;
  use("nothing was opened", false, [&](RedisConnection& connection) {
    connection.queue({"PING"});
    connection.queue({"INFO"});
    const std::vector<RedisReply> replies = connection.replies(2);
    if (is_error(*replies[0])) fail(reason_of(text_of(*replies[0])), "nothing was opened");
    if (!is_error(*replies[1])) info = "\n" + std::string(text_of(*replies[1]));  // users may not be allowed to ask
  });
  if (field(info, "cluster_enabled") == "1") {
    refuse(Code::kStore, "the store at " + address_.shown() +
                             " is a node of a cluster, of which one alone does not keep all histories: give a server "
                             "without cluster mode, or sentinel://HOST:PORT/SERVICE for one that fails over");
  }
  const std::string policy = field(info, "maxmemory_policy");
  if (policy.substr(0, 8) != "allkeys-") return;
  const bool is_bounded = field(info, "maxmemory") != "0";
  const std::string words = "the store at " + address_.shown() + " drops histories when " +
                            (is_bounded ? "it is full" : "it is given a maxmemory") + ", as its maxmemory-policy is " +
                            policy + ": set noeviction";
  if (is_bounded) refuse(Code::kStore, words);
  log(LogLevel::kWarning, words);
}

RedisStore::Keys RedisStore::keys_of(std::string_view user) const {
  // Braces keep both on one node of a cluster.
  std::string key = prefix_ + ":{" + std::string(user) + "}";
  return {key + ":events", key + ":event_ids"};
}

std::unique_ptr<RedisConnection> RedisStore::take() {
  while (true) {
    std::unique_ptr<RedisConnection> connection;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (is_closed_) refuse(Code::kStore, "the store at " + address_.shown() + " is closed: open it again");
      if (idle_.empty()) return nullptr;
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
    if (connection->is_usable()) return connection;
  }
}

void RedisStore::give_back(std::unique_ptr<RedisConnection> connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!is_closed_) idle_.push_back(std::move(connection));
}

void RedisStore::drop_idle() {
  std::vector<std::unique_ptr<RedisConnection>> idle;
  const std::lock_guard<std::mutex> lock(mutex_);
  idle.swap(idle_);
}

template <typename Work>
void RedisStore::use(const char* consequence, bool repeatable, const Work& work) {
  check_process();
  for (bool is_first = true;; is_first = false) {
    std::unique_ptr<RedisConnection> connection = take();
    const bool is_new = connection == nullptr;
    try {
      if (is_new) connection = std::make_unique<RedisConnection>(address_, tls_);
      work(*connection);
      give_back(std::move(connection));
      return;
    } catch (const DoesNotLead& error) {
      drop_idle();
      if (!is_first || is_new) fail(error.what(), "nothing was stored");
    } catch (const RedisError& error) {
      drop_idle();
      if (!is_first || is_new || !repeatable) fail(error.what(), consequence);
    }
  }
}

void RedisStore::append(const NewEvent* events, int64_t n, Appended* appended) {
  if (n == 0) return;
  use(kNotKnown, false, [&](RedisConnection& connection) { append_from(connection, events, n, appended); });
}

void RedisStore::append_from(RedisConnection& connection, const NewEvent* events, int64_t n, Appended* appended) {
  for (int64_t done = 0; done < n;) done += send_appends(connection, events + done, n - done, appended + done);
}

// Sends events in one round trip; returns how many of them, the first ones, were dealt with.
int64_t RedisStore::send_appends(RedisConnection& connection, const NewEvent* events, int64_t n, Appended* appended) {
  // One alone by the script's hash, of several the first with the whole script, so that the server knows it then.
  const bool is_alone = n == 1;
  const std::string most = std::to_string(max_history().value_or(0));
  const auto queue = [&](const NewEvent& event, bool spelled_out, int64_t stamp) {
    const Keys keys = keys_of(event.user);
    connection.queue({spelled_out ? "EVAL" : "EVALSHA", spelled_out ? kAppendScript : append_sha(), "2", keys.events,
                      keys.ids, std::to_string(stamp), std::to_string(event.n_items), event.event_id, event.items,
                      most});
  };
  for (int64_t j = 0; j < n; ++j) {
    appended[j] = {};
    appended[j].place.stamp = new_stamp();
    queue(events[j], !is_alone && j == 0, appended[j].place.stamp);
  }
  std::vector<RedisReply> replies = connection.replies(static_cast<size_t>(n));
  if (is_alone && is_error(*replies[0]) && holds(text_of(*replies[0]), "NOSCRIPT")) {
    queue(events[0], true, appended[0].place.stamp);
    replies = connection.replies(1);
  }
  int64_t n_stored = 0, n_failed = 0, known = n;  // from `known` on the server had forgotten the script
  std::string reason;                             // of the first failure
  const NewEvent* failed = nullptr;
  for (int64_t j = 0; j < n; ++j) {
    const redisReply& reply = *replies[static_cast<size_t>(j)];
    if (is_error(reply)) {
      const std::string said = reason_of(text_of(reply));
      if (said.substr(0, 8) == "NOSCRIPT") {
        known = std::min(known, j);
        continue;
      }
      if (holds(said, "READONLY ") && n_stored == 0 && n_failed == 0) throw DoesNotLead(said);
      if (n_failed++ == 0) {
        reason = said;
        failed = &events[j];
      }
      continue;
    }
    if (known < j) fail("the server lost its scripts meanwhile", kNotKnown);  // a later event came before
    ++n_stored;
    if (reply.type != REDIS_REPLY_ARRAY) {
      appended[j] = {};
      continue;
    }
    appended[j].is_new = true;
    appended[j].place.seq = reply.element[0]->integer;
    const std::string_view before = text_of(*reply.element[1]);
    std::from_chars(before.data(), before.data() + before.size(), appended[j].stamp_before);
  }
  if (failed != nullptr) {
    std::string consequence = "it was not stored";
    if (n > 1)
      consequence = std::to_string(n_failed + n - known) + " of " + std::to_string(n) + " events were not stored";
    if (is_no_history(reason)) {
      refuse(Code::kStore, "the store at " + address_.shown() + ": " + no_history(failed->user, reason) + "; " +
                               consequence + "; remove them, or forget the user");
    }
    fail(reason, consequence);
  }
  return known;
}

void RedisStore::read(const std::string_view* users, const Place* places, int64_t n, Log* logs) {
  if (n == 0) return;
  use("nothing was read", true, [&](RedisConnection& connection) {
    for (bool spelled_out = false;; spelled_out = true) {
      for (int64_t b = 0; b < n; ++b) {
        const std::string key = keys_of(users[b]).events;
        if (places[b].seq <= 0) {
          connection.queue({"LRANGE", key, "0", "-1"});
        } else {
          connection.queue({spelled_out ? "EVAL" : "EVALSHA", spelled_out ? kReadScript : read_sha(), "1", key,
                            std::to_string(places[b].seq), std::to_string(places[b].stamp)});
        }
      }
      const std::vector<RedisReply> replies = connection.replies(static_cast<size_t>(n));
      bool is_known = true;
      for (int64_t b = 0; b < n; ++b) {
        const redisReply& reply = *replies[static_cast<size_t>(b)];
        logs[b].clear();
        if (is_error(reply)) {
          const std::string reason = reason_of(text_of(reply));
          if (!spelled_out && reason.substr(0, 8) == "NOSCRIPT") {
            is_known = false;
          } else if (is_no_history(reason)) {
            logs[b].fault = no_history(users[b], reason);
          } else {
            fail(reason, "nothing was read");
          }
          continue;
        }
        const bool is_nested = places[b].seq > 0;
        logs[b].continues = is_nested ? reply.element[0]->integer == 1 : places[b].stamp == kAnyStamp;
        read_events(is_nested ? *reply.element[1] : reply, users[b], &logs[b]);
      }
      if (is_known) return;
    }
  });
}

bool RedisStore::forget(std::string_view user) {
  constexpr char kConsequence[] = "whether it was forgotten is not known; repeat it";
  bool found = false;
  use(kConsequence, false, [&](RedisConnection& connection) {
    const Keys keys = keys_of(user);
    const RedisReply reply = connection.ask({"DEL", keys.events, keys.ids});
    if (is_error(*reply)) {
      const std::string reason = reason_of(text_of(*reply));
      if (holds(reason, "READONLY ")) throw DoesNotLead(reason);
      fail(reason, "nothing was forgotten");
    }
    found = reply->integer > 0;
  });
  return found;
}

void RedisStore::close() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_closed_ = true;
  }
  drop_idle();
}

void RedisStore::fail(std::string_view reason, const std::string& consequence) const {
  // Servers differ in how they say it from a script.
  const char* advice = holds(reason, "OOM ") ? "raise its maxmemory" : "check the server";
  refuse(Code::kStore, "the store at " + address_.shown() + ": " + address_.without_passwords(one_line(reason)) + "; " +
                           consequence + "; " + advice);
}

}  // namespace recblr
