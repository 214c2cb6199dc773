#include "server/observe/log.h"

#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "server/observe/line_writer.h"

namespace recblr::server {

namespace {

constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};

// "2026-01-31T12:00:00.123Z"
std::string now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
  const std::time_t seconds = milliseconds / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32], time[64];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(time, sizeof time, "%s.%03dZ", date, static_cast<int>(milliseconds % 1000));
  return time;
}

std::string shown(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", number);
  return text;
}

boost::json::value json_of(const LogField& field) {
  return std::visit([](auto value) -> boost::json::value { return boost::json::value_from(value); }, field.value);
}

std::string json_line(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields) {
  boost::json::object line;
  line["time"] = now();
  line["level"] = name_of(level);
  line["event"] = event;
  if (!message.empty()) line["message"] = message;
  for (const LogField& field : fields) line[field.name] = json_of(field);
  return boost::json::serialize(line);
}

// A value as it is, or quoted where it could be taken for more than one.
std::string text_of(const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) {
    const bool is_word = !text->empty() && text->find_first_of(" \"=\\\n\r\t") == std::string_view::npos;
    return is_word ? std::string(*text) : boost::json::serialize(boost::json::string(*text));
  }
  if (const auto* integer = std::get_if<int64_t>(&field.value)) return std::to_string(*integer);
  return shown(std::get<double>(field.value));
}

std::string text_line(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields) {
  std::string line = now();
  line.append(" ").append(name_of(level)).append(" ").append(event);
  if (!message.empty()) {
    line.append(": ");
    for (const char c : message) line += c == '\n' || c == '\r' ? ' ' : c;
  }
  for (const LogField& field : fields) line.append(" ").append(field.name).append("=").append(text_of(field));
  return line;
}

}  // namespace

const char* name_of(LogLevel level) { return kLevels[static_cast<int>(level)]; }

std::optional<LogLevel> log_level(std::string_view name) {
  for (int level = 0; level < 4; ++level) {
    if (name == kLevels[level]) return static_cast<LogLevel>(level);
  }
  return std::nullopt;
}

Log::Log(LogFormat format, LogLevel least, int file)
    : format_(format), least_(least), writer_(std::make_unique<LineWriter>(file)) {}

Log::~Log() { flush(1); }

void Log::write(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields) {
  if (!writes(level)) return;
  const auto line = format_ == LogFormat::kJson ? json_line : text_line;
  writer_->add(line(level, event, message, fields));
}

int64_t Log::dropped() const { return writer_->dropped(); }

void Log::flush(double timeout) { writer_->flush(timeout); }

}  // namespace recblr::server
