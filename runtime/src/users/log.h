// Words for whoever runs a service, where there is no error to carry them.
#pragma once

#include <string>

namespace recblr {

enum class LogLevel : int { kInfo = 20, kWarning = 30 };  // as Python's logging numbers them

// Called from any thread, one call at a time; must not throw, nor set the logger.
using Logger = void (*)(void* context, int level, const char* message);

// Who is told; nullptr for nobody, which is so at first. Returns when the former one is not called any more.
void set_logger(Logger logger, void* context);
void log(LogLevel level, const std::string& message);

}  // namespace recblr
