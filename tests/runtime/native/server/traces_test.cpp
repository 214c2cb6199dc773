#include "server/observe/traces.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/observe/trace_context.h"
#include "server/observe/trace_target.h"

namespace recblr::server {
namespace {

// An HTTP server that takes one connection after another and answers with `status`.
class Collector {
 public:
  explicit Collector(std::string status) : status_(std::move(status)), listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    listen(listener_, 8);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port = std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { run(); });
  }
  ~Collector() {
    is_over_ = true;
    thread_.join();
    close(listener_);
  }
  Url url() const { return {false, "127.0.0.1", port, "/v1/traces"}; }

  std::string port;
  std::vector<std::string> heads, bodies;  // once `stop` of what sends has returned

 private:
  void run() {
    while (!is_over_) {
      pollfd waiting{listener_, POLLIN, 0};
      if (poll(&waiting, 1, 5) <= 0) continue;
      const int client = accept(listener_, nullptr, nullptr);
      std::string text;
      size_t head = std::string::npos, length = 0;
      char part[4096];
      while (head == std::string::npos || text.size() < head + 4 + length) {
        const ssize_t n = read(client, part, sizeof part);
        if (n <= 0) break;
        text.append(part, static_cast<size_t>(n));
        head = text.find("\r\n\r\n");
        const size_t at = text.find("Content-Length: ");
        if (at != std::string::npos) length = std::strtoul(text.c_str() + at + 16, nullptr, 10);
      }
      heads.push_back(text.substr(0, head));
      bodies.push_back(text.substr(head + 4));
      const std::string reply = "HTTP/1.1 " + status_ + "\r\nContent-Length: 2\r\n\r\n{}";
      static_cast<void>(!write(client, reply.data(), reply.size()));
      close(client);
    }
  }

  const std::string status_;
  const int listener_;
  std::atomic<bool> is_over_{false};
  std::thread thread_;
};

RequestRecord record(const std::string& traceparent = "") {
  RequestRecord record;
  record.method = "POST";
  record.route = "/v1/recommend";
  record.status = 200;
  record.request_id = "abc";
  record.traceparent = traceparent;
  record.rows = 2;
  record.seconds = 0.25;
  return record;
}

const std::string kTrace = "0af7651916cd43dd8448eb211c80319c", kParent = "b7ad6b7169203331";

class TracesTest : public ::testing::Test {
 protected:
  static boost::json::array spans(const std::string& body) {
    const boost::json::value value = boost::json::parse(body);
    return value.at("resourceSpans").at(0).at("scopeSpans").at(0).at("spans").as_array();
  }
  static boost::json::value attribute(const boost::json::value& holder, const std::string& key) {
    for (const boost::json::value& attribute : holder.at("attributes").as_array()) {
      if (attribute.at("key").as_string() == key) return attribute.at("value");
    }
    return nullptr;
  }

  Log log_{LogFormat::kJson, LogLevel::kError, STDERR_FILENO};
};

TEST_F(TracesTest, ARequestContinuesItsClientsTrace) {
  Collector collector("200 OK");
  TraceTarget target;
  target.url = collector.url();
  target.headers = {{"Authorization", "Bearer x"}};
  target.service = "shop";
  Traces traces(target, &log_);
  traces.add(record("00-" + kTrace + "-" + kParent + "-01"), "sha256:0");
  RequestRecord failed = record();
  failed.status = 503;
  failed.reason = "overloaded";
  traces.add(failed, "");
  ASSERT_TRUE(traces.stop(30));
  EXPECT_EQ(traces.sent(), 2);
  ASSERT_EQ(collector.bodies.size(), 1U);
  EXPECT_EQ(collector.heads[0].rfind("POST /v1/traces HTTP/1.1", 0), 0U);
  EXPECT_NE(collector.heads[0].find("Content-Type: application/json"), std::string::npos);
  EXPECT_NE(collector.heads[0].find("Authorization: Bearer x"), std::string::npos);
  const boost::json::value body = boost::json::parse(collector.bodies[0]);
  EXPECT_EQ(attribute(body.at("resourceSpans").at(0).at("resource"), "service.name").at("stringValue"), "shop");
  const boost::json::array both = spans(collector.bodies[0]);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].at("traceId").as_string(), kTrace);
  EXPECT_EQ(both[0].at("parentSpanId").as_string(), kParent);
  EXPECT_NE(both[0].at("spanId").as_string(), kParent);
  EXPECT_EQ(both[0].at("name"), "POST /v1/recommend");
  EXPECT_EQ(both[0].at("kind"), 2);
  EXPECT_EQ(attribute(both[0], "http.route").at("stringValue"), "/v1/recommend");
  EXPECT_EQ(attribute(both[0], "http.response.status_code").at("intValue"), "200");
  EXPECT_EQ(attribute(both[0], "recblr.rows").at("intValue"), "2");
  EXPECT_EQ(attribute(both[0], "recblr.model.fingerprint").at("stringValue"), "sha256:0");
  const auto nanoseconds = [&both](const char* name) { return std::stoll(std::string(both[0].at(name).as_string())); };
  EXPECT_EQ(nanoseconds("endTimeUnixNano") - nanoseconds("startTimeUnixNano"), 250'000'000);
  EXPECT_FALSE(both[0].as_object().contains("status"));
  EXPECT_FALSE(both[1].as_object().contains("parentSpanId"));
  EXPECT_EQ(both[1].at("traceId").as_string().size(), 32U);
  EXPECT_EQ(both[1].at("status").at("code"), 2);
  EXPECT_EQ(attribute(both[1], "error.type").at("stringValue"), "overloaded");
}

TEST_F(TracesTest, ARequestHasItsPartsAsChildren) {
  Collector collector("200 OK");
  TraceTarget target;
  target.url = collector.url();
  Traces traces(target, &log_);
  RequestRecord whole = record();
  whole.asked = whole.began + std::chrono::milliseconds(50);
  whole.answered = whole.began + std::chrono::milliseconds(200);
  RequestRecord failed = record();  // refused by the engine
  failed.asked = failed.began + std::chrono::milliseconds(50);
  traces.add(whole, "");
  traces.add(failed, "");
  ASSERT_TRUE(traces.stop(30));
  EXPECT_EQ(traces.sent(), 2);
  const boost::json::array all = spans(collector.bodies.at(0));
  const auto nanoseconds = [](const boost::json::value& span, const char* name) {
    return std::stoll(std::string(span.at(name).as_string()));
  };
  const auto children = [&](const boost::json::value& parent) {
    std::vector<std::string> found;
    for (const boost::json::value& span : all) {
      if (!span.as_object().contains("parentSpanId") || span.at("parentSpanId") != parent.at("spanId")) continue;
      EXPECT_EQ(span.at("traceId"), parent.at("traceId"));
      EXPECT_EQ(span.at("kind"), 1);
      const auto begin = nanoseconds(span, "startTimeUnixNano"), end = nanoseconds(span, "endTimeUnixNano");
      found.push_back(std::string(span.at("name").as_string()) + " " + std::to_string((end - begin) / 1'000'000));
      if (span.at("name") == "engine") {
        EXPECT_EQ(attribute(span, "recblr.rows").at("intValue"), "2");
      }
    }
    return found;
  };
  ASSERT_EQ(all.size(), 7U);
  EXPECT_EQ(children(all[0]), (std::vector<std::string>{"read 50", "engine 150", "write 50"}));
  EXPECT_EQ(children(all[4]), (std::vector<std::string>{"read 50", "engine 200"}));
}

TEST_F(TracesTest, TheClientDecidesWhetherItsTraceIsKeptAndTheShareOfOthers) {
  Collector collector("200 OK");
  TraceTarget target;
  target.url = collector.url();
  target.sample = 0;
  Traces traces(target, &log_);
  traces.add(record("00-" + kTrace + "-" + kParent + "-00"), "");
  traces.add(record(), "");
  traces.add(record("00-" + kTrace + "-" + kParent + "-03"), "");
  ASSERT_TRUE(traces.stop(30));
  EXPECT_EQ(traces.sent(), 1);
  EXPECT_EQ(traces.dropped(), 0);
}

TEST_F(TracesTest, ManyGoInBatches) {
  Collector collector("200 OK");
  TraceTarget target;
  target.url = collector.url();
  Traces traces(target, &log_);
  for (int j = 0; j < 1200; ++j) traces.add(record(), "");
  ASSERT_TRUE(traces.stop(30));
  EXPECT_EQ(traces.sent(), 1200);
  std::set<std::string> ids;
  for (const std::string& body : collector.bodies) {
    EXPECT_LE(spans(body).size(), 512U);
    for (const boost::json::value& span : spans(body)) ids.insert(std::string(span.at("spanId").as_string()));
  }
  EXPECT_EQ(ids.size(), 1200U);
}

TEST_F(TracesTest, WhatNobodyTakesIsCountedAndNotWaitedFor) {
  for (const std::string status : {"503 Service Unavailable", ""}) {
    auto collector = std::make_unique<Collector>(status);
    TraceTarget target;
    target.url = collector->url();
    if (status.empty()) collector.reset();  // nobody listens
    Traces traces(target, &log_);
    for (int j = 0; j < 10'000; ++j) traces.add(record(), "");
    ASSERT_TRUE(traces.stop(30));
    EXPECT_EQ(traces.sent(), 0);
    EXPECT_EQ(traces.dropped(), 10'000);
    traces.add(record(), "");
    EXPECT_EQ(traces.dropped(), 10'001);
  }
}

TEST(Traceparent, IsReadAsW3cSays) {
  const std::string good = "00-" + kTrace + "-" + kParent + "-01";
  const auto read = read_traceparent(good);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->trace_id, kTrace);
  EXPECT_EQ(read->parent_id, kParent);
  EXPECT_TRUE(read->is_sampled);
  EXPECT_TRUE(read_traceparent("cc" + good.substr(2) + "-what-comes-later"));
  EXPECT_FALSE(read_traceparent("00-" + kTrace + "-" + kParent + "-00")->is_sampled);
  for (const std::string& bad :
       {std::string(), good.substr(1), good + "-more", good + "0", "ff" + good.substr(2), "zz" + good.substr(2),
        "00-" + std::string(32, '0') + "-" + kParent + "-01", "00-" + kTrace + "-" + std::string(16, '0') + "-01",
        "00-" + kTrace + "_" + kParent + "-01", "00-" + kTrace + "-" + "B7AD6B7169203331" + "-01"}) {
    EXPECT_FALSE(read_traceparent(bad)) << bad;
  }
}

TEST(Urls, AreReadOrRefused) {
  const auto parts = [](std::string_view text) {
    const Expected<Url> url = read_url(text);
    return url ? (url->is_https ? "s " : "") + url->host + " " + url->port + " " + url->path : url.error().message;
  };
  EXPECT_EQ(parts("http://collector:4318"), "collector 4318 /");
  EXPECT_EQ(parts("https://a.b/c?d=e"), "s a.b 443 /c?d=e");
  EXPECT_EQ(parts("http://[::1]:99/x"), "::1 99 /x");
  EXPECT_EQ(parts("http://[::1]"), "::1 80 /");
  for (const char* bad :
       {"", "collector:4318", "ftp://x", "http://", "http://:80", "http://x:", "http://x:port", "http://x:123456",
        "http://x:0", "http://x:65536", "http://[::1", "http://x/\r\nInjected: 1"}) {
    EXPECT_FALSE(read_url(bad)) << bad;
    EXPECT_EQ(parts(bad).find('\n'), std::string::npos);
  }
  EXPECT_EQ(parts("http://x:65535"), "x 65535 /");
  for (const char* secret : {"http://user:pass@x", "user:pass@x", "http://user:pass@x:99999/"}) {
    EXPECT_EQ(parts(secret).find("pass@"), std::string::npos) << parts(secret);
  }
}

TEST(TraceTargets, OpenTelemetrysVariablesCount) {
  EXPECT_FALSE(trace_target({}));
  setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://one:4318/", 1);
  setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x, other = y", 1);
  setenv("OTEL_SERVICE_NAME", "shop", 1);
  auto target = trace_target({});
  ASSERT_TRUE(target);
  EXPECT_EQ(target->url.host, "one");
  EXPECT_EQ(target->url.path, "/v1/traces");
  EXPECT_EQ(target->service, "shop");
  EXPECT_EQ(target->headers, (Headers{{"Authorization", "Bearer x"}, {"other", "y"}}));
  setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://two:4318/as/it/is", 1);
  EXPECT_EQ(trace_target({})->url.path, "/as/it/is");
  TraceOptions options;
  options.endpoint = "http://three:4318/base";
  EXPECT_EQ(trace_target(options)->url.path, "/base/v1/traces");
  setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "of=traces", 1);
  EXPECT_EQ(trace_target({})->headers, (Headers{{"of", "traces"}}));
  for (const char* bad : {"three", "http://three:4318?x=1", "http://three:4318/base?x=1"}) {
    options.endpoint = bad;
    EXPECT_THROW(trace_target(options), Error) << bad;
  }
  setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "key=one%0d%0aInjected:%20two", 1);
  try {
    trace_target({});
    FAIL() << "a header with the end of a line";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("one"), std::string::npos) << error.what();
  }
  unsetenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS");
  setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://two:4318/as/it/is?x=1", 1);
  EXPECT_EQ(trace_target({})->url.path, "/as/it/is?x=1");
  setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none.pem", 1);
  EXPECT_THROW(trace_target({}), Error);
  for (const char* name : {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME",
                           "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_CERTIFICATE"}) {
    unsetenv(name);
  }
}

}  // namespace
}  // namespace recblr::server
