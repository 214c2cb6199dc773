// Arrays as numpy.save writes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace recblr {

// A vector of float32, little-endian, of `size` numbers. `path` is for messages. Throws Error(kBundle): the content is
// no array, or one of another type or shape.
std::vector<float> parse_npy(std::string_view content, int64_t size, const std::string& path);

}  // namespace recblr
