// What the readers of bodies have in common as handlers of Boost.JSON's parser.
#pragma once

#include <boost/json/basic_parser.hpp>
#include <limits>
#include <string>
#include <string_view>

namespace recblr::server {

class JsonHandler {
 public:
  static constexpr size_t max_array_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_string_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_key_size = std::numeric_limits<size_t>::max();

  bool on_document_begin(boost::json::error_code&) { return true; }
  bool on_document_end(boost::json::error_code&) { return true; }
  bool on_comment_part(boost::json::string_view, boost::json::error_code&) { return true; }
  bool on_comment(boost::json::string_view, boost::json::error_code&) { return true; }
  // At a body's end, where it is incomplete.
  bool on_number_part(boost::json::string_view, boost::json::error_code&) { return true; }

 protected:
  // All of a string or key whose last part is `end`.
  std::string_view joined(boost::json::string_view end) {
    if (text_.empty()) return {end.data(), end.size()};
    text_.append(end.data(), end.size());
    return text_;
  }

  std::string text_;  // of a string or key that comes in parts
};

}  // namespace recblr::server
