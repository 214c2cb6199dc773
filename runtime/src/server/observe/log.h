// What the server tells whoever runs it: a line for each thing that happened, as JSON or as text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace recblr::server {

class LineWriter;

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };
const char* name_of(LogLevel level);
std::optional<LogLevel> log_level(std::string_view name);  // of "debug", "info", "warning", "error"

struct LogField {
  std::string_view name;
  std::variant<std::string_view, int64_t, double> value;
};
using LogFields = std::vector<LogField>;

// Any thread may write, and none waits for it: lines are queued, and written by a thread of the log. Where whoever
// reads them is slow, some are left out, and counted. Lines hold no ids of users and items, no bodies
// and no tokens: do not pass any.
class Log {
 public:
  // Writes to `file`, a descriptor that stays the caller's, what is of `least` or above.
  Log(LogFormat format, LogLevel least, int file);
  ~Log();  // waits at most a second for what is queued

  bool writes(LogLevel level) const { return level >= least_; }
  // `event` is a word for programs, such as "reload"; `message`, for people, may be empty.
  void write(LogLevel level, std::string_view event, std::string_view message, const LogFields& fields = {});
  int64_t dropped() const;  // lines
  // Waits until all is written, or `timeout` seconds.
  void flush(double timeout);

 private:
  const LogFormat format_;
  const LogLevel least_;
  const std::unique_ptr<LineWriter> writer_;
};

}  // namespace recblr::server
