// Messages to the user of TensorRT, through the logger of the TensorRT that loaded the library.
#pragma once

#include <exception>
#include <string>

namespace recblr::tensorrt {

// Writes to stderr where TensorRT gave no logger.
void log_error(const char* message) noexcept;

// Runs body(); returns whether it threw nothing. What it threw is logged behind the names of the operator and the
// layer: TensorRT gives no other way to say it, and no exception may reach it.
template <typename Body>
bool logged(const char* op, const char* layer, const Body& body) noexcept {
  try {
    try {
      body();
      return true;
    } catch (const std::exception& error) {
      log_error(
          (std::string("recblr::") + op + " \"" + (layer == nullptr ? "" : layer) + "\": " + error.what()).c_str());
    }
  } catch (...) {
    log_error("recblr: out of memory");  // not even the message could be made
  }
  return false;
}

}  // namespace recblr::tensorrt
