#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "server/options/file_content.h"
#include "server/options/given.h"

namespace recblr::server {
namespace {

const Option& named(const std::string& name, const std::vector<Option>& list) {
  return *std::find_if(list.begin(), list.end(), [&](const Option& option) { return option.name == name; });
}

bool is_given(const std::string& name, const std::vector<Option>& list) {
  return named(name, list).source != "default";
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string without_brackets(const std::string& host) {
  return host.size() > 2 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2) : host;
}

std::string with_brackets(const std::string& host) {
  return host.find(':') != std::string::npos ? "[" + host + "]" : host;
}

std::string address_of(const std::string& host, int64_t port) {
  return with_brackets(host) + ":" + std::to_string(port);
}

// What browsers may call a server that no other machine reaches, for HttpOptions.
std::vector<std::string> own_names(const std::vector<std::string>& hosts) {
  std::vector<std::string> names = {"localhost", "127.0.0.1", "[::1]"};
  for (const std::string& host : hosts) names.push_back(with_brackets(host));
  return names;
}

void check_token(const std::string& token, const std::string& origin) {
  const bool printable = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (!printable || token.empty()) {
    throw UsageError(origin + " has no token: give one of printable ASCII characters without blanks");
  }
}

// From the option `name`, or the file of the option `name`-file.
void read_token(const std::string& name, const std::string& path, const std::vector<Option>& list, std::string* token) {
  if (path.empty()) {
    if (!token->empty()) check_token(*token, named(name, list).source);
    return;
  }
  const std::string origin = "--" + name + "-file";
  if (!token->empty()) throw UsageError("--" + name + " and " + origin + " are both given: leave one out");
  std::string content = file_content(path, origin);
  content.erase(content.find_last_not_of(" \t\r\n") + 1);
  check_token(content, origin + ", " + quote(path) + ",");
  *token = content;
}

void check_tls(const TlsFiles& tls) {
  if (tls.certificate.empty() != tls.key.empty()) {
    throw UsageError("--tls-certificate and --tls-key go together: give both, or none");
  }
  if (!tls.client_ca.empty() && tls.certificate.empty()) {
    throw UsageError("--tls-client-ca needs TLS: give --tls-certificate and --tls-key, too");
  }
}

}  // namespace

Options assemble(Given given, const std::vector<Option>& list) {
  Options& options = given.options;
  HttpOptions& http = options.http;
  if (options.model.path.empty()) {
    throw UsageError("--engine is missing: give the bundle's folder; see recblr-serve --help");
  }
  if (options.model.store == "memory") options.model.store = "";
  given.batching.workers = static_cast<int>(given.workers.value_or(0));
  given.batching.max_delay = given.max_delay_ms / 1e3;
  options.model.engine.batching = given.batching;

  read_token("token", given.token_file, list, &http.tokens.user);
  read_token("admin-token", given.admin_token_file, list, &http.tokens.admin);
  check_tls(http.tls);

  if (given.hosts.empty()) given.hosts.push_back("127.0.0.1");
  for (std::string& host : given.hosts) host = without_brackets(host);
  const bool over_tcp = given.unix_sockets.empty() || is_given("host", list) || is_given("http-port", list);
  const bool open = http.tokens.user.empty() && http.tls.client_ca.empty();
  const bool is_local = std::all_of(given.hosts.begin(), given.hosts.end(), is_loopback);
  if (open && is_local) http.own_names = own_names(given.hosts);
  // A client's token is many people's: they shall not find out what folders there are.
  options.reloads_any_path = !http.tokens.admin.empty() || (http.tokens.user.empty() && (is_local || !over_tcp));
  for (const std::string& host : given.hosts) {
    if ((over_tcp || given.grpc_port) && open && !is_loopback(host) && !given.insecure) {
      throw UsageError("--host is " + quote(host) +
                       ", where others than this machine reach the server: give --token-file, or --insecure");
    }
    if (over_tcp) http.addresses.push_back(address_of(host, given.http_port));
    if (given.grpc_port) options.grpc_addresses.push_back(address_of(host, *given.grpc_port));
  }
  for (const std::string& path : given.unix_sockets) http.addresses.push_back("unix:" + path);
  return options;
}

}  // namespace recblr::server
