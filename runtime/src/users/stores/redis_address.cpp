#include "users/stores/redis_address.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/text.h"

namespace recblr {

namespace {

struct Scheme {
  const char* name;
  bool tls;
};

constexpr Scheme kSchemes[] = {{"redis", false},  {"rediss", true},    {"unix", false},    {"valkey", false},
                               {"valkeys", true}, {"sentinel", false}, {"sentinels", true}};

// redis-py's, of its client or of what is right here anyway.
constexpr std::string_view kPassedOver[] = {
    "decode_responses", "encoding",       "encoding_errors", "protocol",
    "max_connections",  "lib_name",       "lib_version",     "socket_keepalive",
    "retry_on_timeout", "retry_on_error", "client_name",     "single_connection_client",
    "ssl_ca_path",      "ssl_ca_data",    "timeout",         "health_check_interval"};

[[noreturn]] void refuse_address(std::string_view address, const std::string& reason) {
  refuse(Code::kConfig, "store " + shown(redacted(address)) + ": " + reason + "; give redis://HOST:PORT/DB");
}

std::string decoded(std::string_view text) {
  std::string plain;
  for (size_t at = 0; at < text.size(); ++at) {
    unsigned code = 0;
    if (text[at] == '%' && at + 2 < text.size() &&
        std::from_chars(text.data() + at + 1, text.data() + at + 3, code, 16).ptr == text.data() + at + 3) {
      plain += static_cast<char>(code);
      at += 2;
    } else {
      plain += text[at];
    }
  }
  return plain;
}

// Cuts the text behind the first of `separators` off, and returns it; the separator goes, too.
std::string_view cut_off(std::string_view* text, char separator, bool* found = nullptr) {
  const size_t place = text->find(separator);
  if (found != nullptr) *found = place != std::string_view::npos;
  if (place == std::string_view::npos) return {};
  const std::string_view rest = text->substr(place + 1);
  *text = text->substr(0, place);
  return rest;
}

bool parse_whole(std::string_view text, int least, int most, int* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() && *number >= least && *number <= most;
}

int parse_database(std::string_view address, std::string_view text) {
  int database = 0;
  if (!parse_whole(text, 0, INT32_MAX, &database)) refuse_address(address, "the database is " + shown(text));
  return database;
}

double parse_seconds(std::string_view address, std::string_view name, const std::string& text) {
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(seconds > 0 && seconds < 1e6)) {
    refuse_address(address, std::string(name) + " is " + shown(text) + ", no number of seconds");
  }
  return seconds;
}

bool parse_bool(std::string_view address, std::string_view name, const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower == "true" || lower == "1" || lower == "yes") return true;
  if (lower == "false" || lower == "0" || lower == "no") return false;
  refuse_address(address, std::string(name) + " is " + shown(text) + ", neither true nor false");
}

RedisHost parse_host(std::string_view address, std::string_view text, int default_port) {
  RedisHost host{"localhost", default_port};
  std::string_view port;
  bool has_port = false;
  if (!text.empty() && text[0] == '[') {  // IPv6
    const size_t end = text.find(']');
    if (end == std::string_view::npos) refuse_address(address, "a host is " + shown(text));
    host.name = std::string(text.substr(1, end - 1));
    text.remove_prefix(end + 1);
    port = cut_off(&text, ':', &has_port);
  } else {
    port = cut_off(&text, ':', &has_port);
    if (!text.empty()) host.name = decoded(text);
  }
  if (has_port && !port.empty() && !parse_whole(port, 1, 65535, &host.port)) {
    refuse_address(address, "the port is " + shown(port));
  }
  return host;
}

void parse_option(std::string_view address, std::string_view name, const std::string& value, RedisAddress* parsed) {
  if (name == "db")
    parsed->database = parse_database(address, value);
  else if (name == "username")
    parsed->user = value;
  else if (name == "password")
    parsed->password = value;
  else if (name == "sentinel_username")
    parsed->sentinel_user = value;
  else if (name == "sentinel_password")
    parsed->sentinel_password = value;
  else if (name == "socket_timeout")
    parsed->timeout = parse_seconds(address, name, value);
  else if (name == "socket_connect_timeout")
    parsed->connect_timeout = parse_seconds(address, name, value);
  else if (name == "ssl_ca_certs")
    parsed->ca_certs = value;
  else if (name == "ssl_certfile")
    parsed->certificate = value;
  else if (name == "ssl_keyfile")
    parsed->key = value;
  else if (name == "ssl_cert_reqs")
    parsed->verify = value != "none";
  else if (name == "ssl_check_hostname")
    parsed->check_hostname = parse_bool(address, name, value);
  else if (std::find(std::begin(kPassedOver), std::end(kPassedOver), name) == std::end(kPassedOver)) {
    refuse_address(address, "it has no option " + shown(name));
  }
}

std::string schemes() {
  std::string all;
  for (const Scheme& scheme : kSchemes) all += (all.empty() ? "" : ", ") + std::string(scheme.name) + "://";
  return all;
}

const Scheme* scheme_of(std::string_view address) {
  for (const Scheme& scheme : kSchemes) {
    const std::string prefix = std::string(scheme.name) + "://";
    if (address.substr(0, prefix.size()) == prefix) return &scheme;
  }
  return nullptr;
}

}  // namespace

std::string redacted(std::string_view address) {
  const size_t query = address.find('?');
  std::string_view plain = address.substr(0, query);
  const size_t begin = plain.find("://") == std::string_view::npos ? 0 : plain.find("://") + 3;
  const size_t at = address.rfind('@');  // a password may hold a question mark that should have been encoded
  if (at == std::string_view::npos || at < begin) return std::string(plain);
  const std::string_view rest = address.substr(at + 1);
  return std::string(address.substr(0, begin)) + "***@" + std::string(rest.substr(0, rest.find('?')));
}

RedisAddress parse_redis_address(std::string_view address) {
  const Scheme* scheme = scheme_of(address);
  if (scheme == nullptr) {
    refuse(Code::kConfig,
           "store " + shown(redacted(address)) + " has none of the schemes " + schemes() + ": use one, or a folder");
  }
  RedisAddress parsed;
  parsed.tls = scheme->tls;
  const std::string_view name = scheme->name;
  std::string_view rest = address.substr(name.size() + 3);
  std::string_view query = cut_off(&rest, '?');
  std::string_view path;  // with its slash
  const size_t slash = rest.find('/');
  if (slash != std::string_view::npos) {
    path = rest.substr(slash);
    rest = rest.substr(0, slash);
  }
  if (const size_t at = rest.rfind('@'); at != std::string_view::npos) {
    std::string_view user = rest.substr(0, at);
    parsed.password = decoded(cut_off(&user, ':'));
    parsed.user = decoded(user);
    rest = rest.substr(at + 1);
  }
  if (name == "unix") {
    parsed.socket = decoded(path);
    if (parsed.socket.empty()) refuse_address(address, "it has no path of a socket");
  } else if (name == "sentinel" || name == "sentinels") {
    parsed.service = decoded(path.empty() ? path : path.substr(1));
    if (parsed.service.empty()) {
      refuse_address(address, "it names no service, as sentinel://HOST:PORT,HOST:PORT/SERVICE does");
    }
    for (bool more = true; more;) {
      const std::string_view others = cut_off(&rest, ',', &more);
      parsed.hosts.push_back(parse_host(address, rest, 26379));
      rest = others;
    }
  } else {
    parsed.hosts.push_back(parse_host(address, rest, 6379));
    if (path.size() > 1) parsed.database = parse_database(address, path.substr(1));
  }
  while (!query.empty()) {
    const std::string_view others = cut_off(&query, '&');
    const std::string_view value = cut_off(&query, '=');
    parse_option(address, query, decoded(value), &parsed);
    query = others;
  }
  return parsed;
}

std::string RedisAddress::shown() const {
  if (!socket.empty()) return socket;
  std::string text = service.empty() ? "" : service + " of the sentinels ";
  for (size_t j = 0; j < hosts.size(); ++j) {
    const bool is_ipv6 = hosts[j].name.find(':') != std::string::npos;
    text += (j == 0 ? "" : ",") + (is_ipv6 ? "[" + hosts[j].name + "]" : hosts[j].name) + ":" +
            std::to_string(hosts[j].port);
  }
  return text;
}

std::string RedisAddress::without_passwords(std::string text) const {
  for (const std::string& secret : {password, sentinel_password}) {
    if (secret.empty()) continue;
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += 3)
      text.replace(at, secret.size(), "***");
  }
  return text;
}

}  // namespace recblr
