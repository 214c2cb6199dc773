// What options there are.
#include <iterator>
#include <utility>

#include "server/options/given.h"

namespace recblr::server {
namespace {

constexpr int64_t kMostThreads = 1024;  // each takes memory, and the system has a bound, too
constexpr int64_t kMost = INT32_MAX;    // the kernels count in int32
constexpr int64_t kMostBytes = int64_t{1} << 40;
constexpr double kDay = 86'400;

class Table {
 public:
  void group(std::string name) { group_ = std::move(name); }
  Option& add(Option option) {
    option.group = group_;
    list_.push_back(std::move(option));
    return list_.back();
  }
  std::vector<Option> take() { return std::move(list_); }

 private:
  std::string group_;
  std::vector<Option> list_;
};

void add_model(Given* given, Table* table) {
  ModelOptions& model = given->options.model;
  table->group("Model");
  table->add(text("engine", "PATH", &model.path, "the folder of a bundle", "The bundle's folder, or a link to it."));
  table->add(text("model-name", "NAME", &model.name, "a name", "Its name in the Open Inference Protocol."));
  table->add(whole("threads", "N", &model.engine.threads, 0, kMostThreads,
                   "CPU threads for one batch; 0: 1, or all CPUs for 100,000 items or more."));
  const std::string elsewhere =
      ": this server computes on the CPU; for a GPU, serve what recblr-export --triton-repository writes with Triton";
  Option& device = table->add(choice("device", &given->device, {"cpu"}, "What computes."));
  device.expects += elsewhere;
  Option& backend =
      table->add(choice("backend", &given->backend, {"auto", "native"}, "Both are recblr's own kernels."));
  backend.expects += elsewhere;
  table->add(number("watch-interval", "SECONDS", &given->options.watch_interval, 0, kDay,
                    "How often to look where the link --engine leads, to load what is new; 0: never."));
}

void add_batching(Given* given, Table* table) {
  Batching& batching = given->batching;
  table->group("Batching");
  table->add(whole("workers", "N", &given->workers, 1, kMostThreads, "Batches that run at once.")).none =
      "CPUs / threads";
  table->add(whole("max-batch-rows", "N", &batching.max_batch_rows, 1, kMost,
                   "Users in one batch; requests of many callers are merged."));
  table->add(whole("max-batch-tokens", "N", &batching.max_batch_tokens, 1, kMost,
                   "Items in one batch; a longer history is fed in pieces."));
  table->add(number("max-delay-ms", "MS", &given->max_delay_ms, 0, 1e3 * kDay,
                    "How long a batch that is not full waits for more requests."));
  table->add(whole("max-queue", "N", &batching.max_queued_rows, 1, kMost,
                   "Users that may wait; requests beyond are refused with status 503."));
  table
      ->add(number("timeout", "SECONDS", &batching.timeout, 0, kDay,
                   "How long a request may wait before it is refused with status 504.", true))
      .none = "no bound";
}

void add_listening(Given* given, Table* table) {
  HttpOptions& http = given->options.http;
  table->group("Listening");
  Option& host = table->add(texts("host", "ADDRESS", &given->hosts, "an address",
                                  "Listen there; 0.0.0.0 or :: for all addresses; may be given several times."));
  host.none = "127.0.0.1";
  host.none_is_value = true;
  table->add(whole("http-port", "PORT", &given->http_port, 0, 65'535, "Port for HTTP; 0: any free one.")).alias =
      "port";
  table
      ->add(texts("unix-socket", "PATH", &given->unix_sockets, "a path",
                  "HTTP on this socket; then on a port only with --host or --http-port."))
      .none = "no socket";
  table->add(whole("grpc-port", "PORT", &given->grpc_port, 0, 65'535, "Port for gRPC; 0: any free one.")).none =
      "no gRPC";
  table
      ->add(text("tls-certificate", "FILE", &http.tls.certificate, "a path",
                 "PEM file of the server's certificate and those that it is signed with."))
      .none = "no TLS";
  table->add(text("tls-key", "FILE", &http.tls.key, "a path", "PEM file of its key."));
  table
      ->add(text("tls-client-ca", "FILE", &http.tls.client_ca, "a path",
                 "PEM file: clients need a certificate that it has signed."))
      .none = "clients need none";
  table->add(
      whole("http-threads", "N", &http.threads, 0, kMostThreads, "Threads for connections; 0: as many as CPUs."));
}

void add_access(Given* given, Table* table) {
  Tokens& tokens = given->options.http.tokens;
  const std::string what = "a token of printable ASCII characters without blanks";
  const auto secret = [&](std::string name, std::string* value, std::string help) -> Option& {
    Option& option = table->add(text(std::move(name), "TOKEN", value, what, std::move(help)));
    option.secret = true;
    return option;
  };
  table->group("Access");
  secret("token", &tokens.user, "Bearer token that clients need. Others see flags: prefer a file.").none = "no token";
  table->add(text("token-file", "FILE", &given->token_file, "a path", "The same, in a file."));
  secret("admin-token", &tokens.admin, "For what changes the model: reload and rollback.").none = "as --token";
  table->add(text("admin-token-file", "FILE", &given->admin_token_file, "a path", "The same, in a file."));
  table->add(toggle("insecure", &given->insecure, "Listen on more than this machine without a token."));
}

void add_users(Given* given, Table* table) {
  ModelOptions& model = given->options.model;
  table->group("Users");
  table
      ->add(text("store", "WHERE", &model.store, "memory, a folder, or redis://HOST:PORT/DB",
                 "Users' histories: memory, a folder for SQLite, or redis://HOST:PORT/DB."))
      .none = "no users";
  table->add(whole("store-max-history", "N", &model.store_options.max_history, 0, kMost,
                   "How many of a user's latest items are kept; 0: all."));
  table->add(choice("store-synchronous", &model.store_options.synchronous, {"FULL", "NORMAL"},
                    "SQLite: with NORMAL an append does not wait for the disk."));
  table->add(text("store-prefix", "TEXT", &model.store_options.prefix, "a text", "Redis: of all keys."));
  Option& cache = table->add(bytes("cache-bytes", &model.recommender.cache_bytes, 0, kMostBytes,
                                   "The most that users' states take; 0: none are kept."));
  cache.none = "256MiB";
  cache.none_is_value = true;
  table->add(whole("rebuild-users", "N", &model.rebuild, 0, kMost,
                   "Users whose states are made anew before another model takes over."));
}

void add_limits(Given* given, Table* table) {
  HttpLimits& limits = given->options.http.limits;
  serving::QuestionLimits& asked = given->options.limits;
  table->group("Limits");
  table->add(bytes("max-header-bytes", &limits.max_header_bytes, 256, 1 << 20, "Of a request's head (else 431)."));
  table->add(
      bytes("max-body-bytes", &limits.max_body_bytes, 1, kMostBytes, "Of a request's body, unpacked, too (else 413)."));
  table->add(bytes(
      "max-bodies-bytes", &limits.max_bodies_bytes, 1, kMostBytes,
      "Of the bodies of all requests and long replies at once (else 503); over gRPC, of all memory for messages."));
  table->add(whole("max-connections", "N", &limits.max_connections, 1, kMost, "At once, over HTTP (else 503)."));
  table->add(whole("max-concurrent", "N", &limits.max_concurrent, 1, kMost,
                   "Requests at once, over HTTP and over gRPC each (else 503)."));
  table->add(number("header-timeout", "SECONDS", &limits.header_timeout, 0, kDay,
                    "For a request's head, from its first byte (else 408).", true));
  table->add(number("body-timeout", "SECONDS", &limits.body_timeout, 0, kDay,
                    "For a request's body, over HTTP (else 408).", true));
  table->add(number("write-timeout", "SECONDS", &limits.write_timeout, 0, kDay,
                    "For a client that reads nothing of its answer.", true));
  table->add(number("keep-alive", "SECONDS", &limits.keep_alive, 0, kDay,
                    "How long a connection stays open between requests.", true));
  table->add(whole("max-users", "N", &asked.max_users, 1, kMost, "Of one request (else 400)."));
  table->add(whole("max-history", "N", &asked.max_history, 1, kMost, "Item ids of one user (else 400)."));
  table->add(whole("max-ids", "N", &asked.max_ids, 1, kMost, "Item ids of one request (else 400)."));
  table->add(whole("max-k", "N", &asked.max_k, 1, kMost, "Results for one user (else 400)."));
  table->add(whole("max-results", "N", &asked.max_results, 1, kMost, "Results of one request (else 400)."));
}

void add_operations(Given* given, Table* table) {
  Options& options = given->options;
  table->group("Operations");
  table->add(number("drain-delay", "SECONDS", &options.drain_delay, 0, kDay,
                    "After SIGTERM, while it is no longer ready but still takes connections."));
  table->add(number("drain-timeout", "SECONDS", &options.drain_timeout, 0, kDay,
                    "After SIGTERM, for requests under way.", true));
  table->add(
      choice("log-level", &options.log.level, {"debug", "info", "warning", "error"}, "The least of what is logged."));
  table->add(choice("log-format", &options.log.format, {"json", "text"}, "Of the lines of the log, on stderr."));
  table->add(toggle("log-requests", &options.log.requests, "Log a line for each request, of level info."));
  table
      ->add(text("otlp-endpoint", "URL", &options.trace.endpoint, "a URL, as http://localhost:4318",
                 "Collector of OpenTelemetry traces, by OTLP over HTTP."))
      .none = "no traces";
  table->add(number("trace-sample", "SHARE", &options.trace.sample, 0, 1, "Of requests that come without a trace."));
}

}  // namespace

Given::Given() {
  batching.max_batch_rows = 64;
  batching.max_batch_tokens = 2560;
  batching.max_queued_rows = 4096;
}

std::vector<Option> options_of(Given* given) {
  Table table;
  for (const auto add : {add_model, add_batching, add_listening, add_access, add_users, add_limits, add_operations}) {
    add(given, &table);
  }
  return table.take();
}

}  // namespace recblr::server
