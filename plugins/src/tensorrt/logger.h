// Messages to the user of TensorRT, through the logger of the TensorRT that loaded the library.
#pragma once

#include <string>

namespace recblr::tensorrt {

// Writes to stderr where TensorRT gave no logger.
void log_error(const std::string& message) noexcept;

}  // namespace recblr::tensorrt
