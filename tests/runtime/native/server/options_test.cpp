// Flags, environment variables and the file of --config.
#include "server/options/options.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace recblr::server {
namespace {

class OptionsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "options_" + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    for (const std::string& name : variables_) unsetenv(name.c_str());
    std::filesystem::remove_all(folder_);
  }

  void set_variable(const std::string& name, const std::string& value) {
    setenv(name.c_str(), value.c_str(), 1);
    variables_.push_back(name);
  }
  std::string write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ + "/" + name) << content;
    return folder_ + "/" + name;
  }

  static CommandLine parse(std::vector<std::string> words) {
    std::vector<const char*> argv = {"recblr-serve"};
    for (const std::string& word : words) argv.push_back(word.c_str());
    return parse_options(static_cast<int>(argv.size()), argv.data());
  }
  // With --engine bundle, which must do.
  static Options options(std::vector<std::string> words) {
    words.insert(words.end(), {"--engine", "bundle"});
    CommandLine line = parse(words);
    EXPECT_TRUE(line.options) << line.text;
    return line.options.value_or(Options());
  }
  // The one line that refuses.
  static std::string refusal(std::vector<std::string> words, bool with_engine = true) {
    if (with_engine) words.insert(words.begin(), {"--engine", "bundle"});
    const CommandLine line = parse(words);
    EXPECT_FALSE(line.options);
    EXPECT_EQ(line.status, 2);
    EXPECT_EQ(line.text.rfind("Error: ", 0), 0u) << line.text;
    EXPECT_EQ(line.text.find('\n'), line.text.size() - 1) << line.text;
    return line.text.substr(7, line.text.size() - 8);
  }
  std::string refusal_of_file(const std::string& content) {
    const std::string path = write("serve.toml", content);
    const std::string message = refusal({"--config", path});
    EXPECT_EQ(message.rfind(path + ", line ", 0), 0u) << message;
    return message.substr(std::min(path.size() + 2, message.size()));
  }

  std::string folder_;
  std::vector<std::string> variables_;
};

TEST_F(OptionsTest, Defaults) {
  const Options given = options({});
  EXPECT_EQ(given.model.path, "bundle");
  EXPECT_EQ(given.model.name, "recblr");
  EXPECT_EQ(given.model.engine.threads, 0);
  EXPECT_EQ(given.model.store, std::nullopt);
  ASSERT_TRUE(given.model.engine.batching);
  EXPECT_EQ(given.model.engine.batching->max_batch_rows, 64);
  EXPECT_EQ(given.model.engine.batching->max_queued_rows, 4096);
  EXPECT_EQ(given.model.engine.batching->timeout, std::nullopt);
  EXPECT_EQ(given.http.addresses, std::vector<std::string>{"127.0.0.1:8000"});
  EXPECT_TRUE(given.grpc_addresses.empty());
  EXPECT_EQ(given.http.limits.max_body_bytes, 32 << 20);
  EXPECT_EQ(given.drain_timeout, 20);
}

TEST_F(OptionsTest, AFlagGoesBeforeTheVariableAndThatBeforeTheFile) {
  const std::string path = write("serve.toml", "max-k = 1\nmax-ids = 2\nhttp-port = 3\nengine = \"elsewhere\"\n");
  set_variable("RECBLR_SERVE_CONFIG", path);
  set_variable("RECBLR_SERVE_HTTP_PORT", "4");
  set_variable("RECBLR_SERVE_MAX_IDS", "5");
  set_variable("RECBLR_SERVE_MAX_USERS", "");  // as if it were not set
  const Options given = options({"--port", "6"});
  EXPECT_EQ(given.limits.max_k, 1);
  EXPECT_EQ(given.limits.max_ids, 5);
  EXPECT_EQ(given.limits.max_users, 1024);
  EXPECT_EQ(given.http.addresses, std::vector<std::string>{"127.0.0.1:6"});
  std::map<std::string, std::string> sources;
  for (const Setting& setting : given.settings) sources[setting.name] = setting.source;
  EXPECT_EQ(sources["engine"], "--engine");
  EXPECT_EQ(sources["max-k"], path + ", line 1");
  EXPECT_EQ(sources["max-ids"], "RECBLR_SERVE_MAX_IDS");
  EXPECT_EQ(sources["http-port"], "--http-port");
  EXPECT_EQ(sources["max-users"], "default");
}

TEST_F(OptionsTest, EveryKindOfValueFromEachPlace) {
  set_variable("RECBLR_SERVE_HOST", "127.0.0.1,::1");
  set_variable("RECBLR_SERVE_LOG_REQUESTS", "true");
  set_variable("RECBLR_SERVE_MAX_BODY_BYTES", "2MiB");
  set_variable("RECBLR_SERVE_TIMEOUT", "0.25");
  const std::string path =
      write("serve.toml", "max-header-bytes = 4096\nkeep-alive = 90\nmax-delay-ms = 1.5\nstore = \"memory\"\n");
  const Options given = options({"--config", path, "--cache-bytes=1GiB", "--grpc-port", "8001", "--log-level=error"});
  EXPECT_EQ(given.http.addresses, (std::vector<std::string>{"127.0.0.1:8000", "[::1]:8000"}));
  EXPECT_EQ(given.grpc_addresses, (std::vector<std::string>{"127.0.0.1:8001", "[::1]:8001"}));
  EXPECT_TRUE(given.log.requests);
  EXPECT_EQ(given.log.level, "error");
  EXPECT_EQ(given.http.limits.max_body_bytes, 2 << 20);
  EXPECT_EQ(given.http.limits.max_header_bytes, 4096);
  EXPECT_EQ(given.http.limits.keep_alive, 90);
  EXPECT_EQ(given.model.engine.batching->max_delay, 0.0015);
  EXPECT_EQ(given.model.engine.batching->timeout, 0.25);
  EXPECT_EQ(given.model.recommender.cache_bytes, int64_t{1} << 30);
  EXPECT_EQ(given.model.store, "");
}

TEST_F(OptionsTest, WhatIsPrintedIsAFileThatGivesTheSame) {
  const std::vector<std::string> words = {"--engine",       "a \"b\"\n\\c",
                                          "--host",         "127.0.0.1",
                                          "--host",         "::1",
                                          "--timeout",      "0.1",
                                          "--workers",      "3",
                                          "--max-ids",      "7",
                                          "--threads",      "2",
                                          "--log-requests", "--print-config"};
  const CommandLine printed = parse(words);
  EXPECT_EQ(printed.status, 0);
  const CommandLine again = parse({"--config", write("printed.toml", printed.text)});
  ASSERT_TRUE(again.options) << again.text << printed.text;
  EXPECT_EQ(again.options->model.path, "a \"b\"\n\\c");
  EXPECT_EQ(again.options->http.addresses, (std::vector<std::string>{"127.0.0.1:8000", "[::1]:8000"}));
  EXPECT_EQ(again.options->model.engine.batching->timeout, 0.1);
  EXPECT_EQ(again.options->model.engine.batching->workers, 3);
  EXPECT_EQ(again.options->limits.max_ids, 7);
  EXPECT_TRUE(again.options->log.requests);
}

TEST_F(OptionsTest, ValuesOutOfTheirRange) {
  EXPECT_EQ(refusal({"--port", "70000"}), "--http-port is 70000: give a whole number from 0 to 65535");
  EXPECT_EQ(refusal({"--http-port", "1.5"}), "--http-port is 1.5: give a whole number from 0 to 65535");
  EXPECT_EQ(refusal({"--max-k", "-3"}), "--max-k is -3: give a whole number from 1 to 2147483647");
  EXPECT_EQ(refusal({"--max-k", "99999999999999999999"}),
            "--max-k is 99999999999999999999: give a whole number from 1 to 2147483647");
  EXPECT_EQ(refusal({"--timeout", "0"}), "--timeout is 0: give a number above 0 up to 86400");
  EXPECT_EQ(refusal({"--timeout", "nan"}), "--timeout is 'nan': give a number above 0 up to 86400");
  EXPECT_EQ(refusal({"--max-body-bytes", "9000000TiB"}),
            "--max-body-bytes is '9000000TiB': give bytes, as 64KiB or 32MiB, from 1 to 1024GiB");
  EXPECT_EQ(refusal({"--cache-bytes", "9223372036854775807KiB"}),
            "--cache-bytes is '9223372036854775807KiB': give bytes, as 64KiB or 32MiB, from 0 to 1024GiB");
  EXPECT_EQ(refusal({"--log-level", "loud"}), "--log-level is 'loud': give debug, info, warning or error");
  EXPECT_EQ(refusal({"--model-name", ""}), "--model-name is empty: give a name");
  EXPECT_EQ(refusal({"--store-synchronous", std::string(200, 'x') + "\n"}),
            "--store-synchronous is '" + std::string(80, 'x') + "...': give FULL or NORMAL");
  set_variable("RECBLR_SERVE_KEEP_ALIVE", "a\nb");
  EXPECT_EQ(refusal({}), "RECBLR_SERVE_KEEP_ALIVE is 'a\\x0ab': give a number above 0 up to 86400");
}

TEST_F(OptionsTest, OptionsThatThereAreNot) {
  EXPECT_EQ(refusal({"--prot", "1"}), "there is no option '--prot': did you mean --port? see recblr-serve --help");
  EXPECT_EQ(refusal({"--quux=1"}), "there is no option '--quux': see recblr-serve --help");
  EXPECT_EQ(refusal({"bundle/"}), "'bundle/' is no option: give the bundle as --engine PATH; see recblr-serve --help");
  EXPECT_EQ(refusal({}, false), "--engine is missing: give the bundle's folder; see recblr-serve --help");
  EXPECT_EQ(refusal({"--http-port"}), "--http-port needs a value: give a whole number from 0 to 65535");
  EXPECT_EQ(refusal({"--config"}), "--config needs a value: give a path");
  set_variable("RECBLR_SERVE_HTP_PORT", "8000");
  EXPECT_EQ(refusal({}),
            "there is no option for the environment variable 'RECBLR_SERVE_HTP_PORT': did you mean "
            "RECBLR_SERVE_HTTP_PORT? see recblr-serve --help, or unset it");
}

TEST_F(OptionsTest, VariablesOfKubernetesAreLeftAlone) {
  set_variable("RECBLR_SERVE_PORT", "tcp://10.0.0.1:8000");
  set_variable("RECBLR_SERVE_PORT_8000_TCP_ADDR", "10.0.0.1");
  set_variable("RECBLR_SERVE_SERVICE_HOST", "10.0.0.1");
  set_variable("RECBLR_SERVE_SERVICE_PORT", "8000");
  set_variable("RECBLR_SERVE_SERVICE_PORT_HTTP", "8000");
  set_variable("RECBLR_SERVE_GRPC_PORT", "tcp://10.0.0.1:8001");
  set_variable("RECBLR_SERVE_GRPC_PORT_8001_TCP", "tcp://10.0.0.1:8001");
  EXPECT_EQ(options({}).http.addresses, std::vector<std::string>{"127.0.0.1:8000"});
  EXPECT_TRUE(options({}).grpc_addresses.empty());
}

TEST_F(OptionsTest, OtherVariablesAreNoneOfKubernetes) {
  set_variable("RECBLR_SERVE_OTLP_ENDPOINT", "tcp://collector:4318");
  EXPECT_EQ(options({}).trace.endpoint, "tcp://collector:4318");
  set_variable("RECBLR_SERVE_PORT_TCP", "1");
  EXPECT_NE(refusal({}).find("'RECBLR_SERVE_PORT_TCP'"), std::string::npos);
}

TEST_F(OptionsTest, Files) {
  EXPECT_EQ(refusal_of_file("# first\nhtp-port = 1"),
            "line 2: there is no option 'htp-port': did you mean http-port? the keys are the options of recblr-serve "
            "--help without --");
  EXPECT_EQ(refusal_of_file("[http]\nport = 1"),
            "line 1: there is no option 'http': the keys are the options of recblr-serve --help without --");
  EXPECT_EQ(refusal_of_file("http-port = \"1\""), "line 1: http-port is a string: give a whole number from 0 to 65535");
  EXPECT_EQ(refusal_of_file("max-k = 1\nmax-ids = 0"),
            "line 2: max-ids is 0: give a whole number from 1 to 2147483647");
  EXPECT_EQ(refusal_of_file("store = 1979-05-27"),
            "line 1: store is a date or time: give memory, a folder, or redis://HOST:PORT/DB, in quotes");
  EXPECT_EQ(refusal_of_file("insecure = 1"), "line 1: insecure is a whole number: give true or false");
  EXPECT_EQ(refusal_of_file("host = [\"::1\", 1]"), "line 1: host is a whole number: give an address, in quotes");
  EXPECT_EQ(refusal_of_file("max-k = nan"),
            "line 1: max-k is a number with a fraction: give a whole number from 1 to "
            "2147483647");
  EXPECT_EQ(refusal_of_file("a = 1\na b").rfind("line 2 is not TOML: ", 0), 0u);
  EXPECT_EQ(refusal({"--config", folder_ + "/none"}),
            "--config is '" + folder_ + "/none': No such file or directory; check the path");
  EXPECT_EQ(refusal({"--config", folder_}), "--config is '" + folder_ + "': Is a directory; check the path");
}

TEST_F(OptionsTest, Tokens) {
  const Options given = options({"--token-file", write("token", "secret\n"), "--admin-token", "more"});
  EXPECT_EQ(given.http.tokens.user, "secret");
  EXPECT_EQ(given.http.tokens.admin, "more");
  for (const Setting& setting : given.settings) {
    EXPECT_EQ(setting.value.find("secret"), std::string::npos);
    EXPECT_EQ(setting.value.find("more"), std::string::npos);
  }
  for (const char* store : {"redis://ann:secret@host/1", "redis://host/1?password=secret"}) {
    for (const Setting& setting : options({"--store", store}).settings) {
      if (setting.name != "store") continue;
      EXPECT_EQ(setting.value, "redis://***");
    }
  }
  const std::string printed = parse({"--engine", "bundle", "--token", "secret", "--print-config"}).text;
  EXPECT_NE(printed.find("# token = (***)"), std::string::npos);
  EXPECT_EQ(printed.find("secret"), std::string::npos);
  const std::string with_store = parse({"--engine", "b", "--store", "redis://:secret@host/0", "--print-config"}).text;
  EXPECT_NE(with_store.find("# store = (redis://***)"), std::string::npos);
  EXPECT_EQ(refusal({"--token", "s e"}), "--token has no token: give one of printable ASCII characters without blanks");
  EXPECT_EQ(refusal({"--token", "a", "--token-file", "b"}), "--token and --token-file are both given: leave one out");
  EXPECT_EQ(refusal({"--admin-token-file", write("empty", " \n")}),
            "--admin-token-file, '" + folder_ +
                "/empty', has no token: give one of printable ASCII characters without blanks");
}

TEST_F(OptionsTest, MoreThanThisMachineNeedsATokenOrInsecure) {
  const std::string message = "where others than this machine reach the server: give --token-file, or --insecure";
  for (const std::string host : {"0.0.0.0", "::", "192.168.0.1", "example.org", "127.example.org", "::2"}) {
    EXPECT_EQ(refusal({"--host", host}), "--host is '" + host + "', " + message);
    EXPECT_EQ(refusal({"--host", host, "--unix-socket", "s"}), "--host is '" + host + "', " + message);
    EXPECT_EQ(refusal({"--host", host, "--admin-token", "a"}), "--host is '" + host + "', " + message);
    EXPECT_EQ(options({"--host", host, "--token", "a"}).http.addresses.size(), 1u);
    EXPECT_EQ(options({"--host", host, "--insecure"}).http.addresses.size(), 1u);
  }
  for (const std::string host : {"127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"}) {
    EXPECT_EQ(options({"--host", host}).http.addresses.size(), 1u);
  }
}

TEST_F(OptionsTest, BrowsersAreToNameThisMachineWhereNoTokenIsNeeded) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(options({}).http.own_names, (Names{"localhost", "127.0.0.1", "[::1]", "127.0.0.1"}));
  EXPECT_EQ(options({"--host", "::1", "--host", "127.1.2.3"}).http.own_names,
            (Names{"localhost", "127.0.0.1", "[::1]", "[::1]", "127.1.2.3"}));
  EXPECT_FALSE(options({"--admin-token", "a"}).http.own_names.empty());
  EXPECT_EQ(options({"--token", "t"}).http.own_names, Names());
  EXPECT_EQ(options({"--host", "0.0.0.0", "--insecure"}).http.own_names, Names());
}

TEST_F(OptionsTest, APathIsReloadedForAdminsAndWhereOnlyThisMachineAsks) {
  EXPECT_TRUE(options({}).reloads_any_path);
  EXPECT_TRUE(options({"--unix-socket", "s"}).reloads_any_path);
  EXPECT_TRUE(options({"--token", "t", "--admin-token", "a"}).reloads_any_path);
  EXPECT_TRUE(options({"--host", "::", "--insecure", "--admin-token", "a"}).reloads_any_path);
  EXPECT_FALSE(options({"--token", "t"}).reloads_any_path);
  EXPECT_FALSE(options({"--host", "::", "--insecure"}).reloads_any_path);
  EXPECT_FALSE(
      options({"--host", "::", "--tls-certificate", "c", "--tls-key", "k", "--tls-client-ca", "a"}).reloads_any_path);
}

TEST_F(OptionsTest, ThereIsSomeTimeToDrain) {
  EXPECT_EQ(refusal({"--drain-timeout", "0"}), "--drain-timeout is 0: give a number above 0 up to 86400");
  EXPECT_EQ(options({"--drain-timeout", "0.5"}).drain_timeout, 0.5);
}

TEST_F(OptionsTest, UnixSockets) {
  EXPECT_EQ(options({"--unix-socket", "s"}).http.addresses, std::vector<std::string>{"unix:s"});
  EXPECT_EQ(options({"--unix-socket", "s", "--port", "1"}).http.addresses,
            (std::vector<std::string>{"127.0.0.1:1", "unix:s"}));
}

TEST_F(OptionsTest, Tls) {
  const Options given = options({"--tls-certificate", "c", "--tls-key", "k", "--tls-client-ca", "a", "--host", "::"});
  EXPECT_EQ(given.http.tls.client_ca, "a");
  EXPECT_EQ(refusal({"--tls-key", "k"}), "--tls-certificate and --tls-key go together: give both, or none");
  EXPECT_EQ(refusal({"--tls-client-ca", "k"}), "--tls-client-ca needs TLS: give --tls-certificate and --tls-key, too");
}

TEST_F(OptionsTest, OtherBackendsAreElsewhere) {
  for (const auto& [flag, value] : {std::pair{"--device", "cuda"}, {"--backend", "onnxruntime"}}) {
    const std::string message = refusal({flag, value});
    EXPECT_NE(message.find("this server computes on the CPU"), std::string::npos) << message;
    EXPECT_NE(message.find(value), std::string::npos) << message;
  }
  EXPECT_EQ(options({"--device", "cpu", "--backend", "native"}).model.path, "bundle");
}

TEST_F(OptionsTest, Help) {
  const CommandLine help = parse({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const Setting& setting : options({}).settings) {
    EXPECT_NE(help.text.find("--" + setting.name), std::string::npos) << setting.name;
  }
  EXPECT_EQ(parse({"--version"}).text, "recblr, version " + std::string(recblr::version()) + "\n");
}

}  // namespace
}  // namespace recblr::server
