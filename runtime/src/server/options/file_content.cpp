#include "server/options/file_content.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "server/options/option.h"

namespace recblr::server {

std::string file_content(const std::string& path, const std::string& flag) {
  constexpr size_t kMost = 1 << 20;
  std::string content(kMost + 1, '\0');
  const auto fail = [&](const std::string& reason) {
    throw UsageError(flag + " is " + quote(path) + ": " + reason + "; check the path");
  };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (file == nullptr) fail(std::strerror(errno));
  content.resize(std::fread(content.data(), 1, content.size(), file.get()));
  if (std::ferror(file.get())) fail(std::strerror(errno));
  if (content.size() > kMost) fail("more than 1 MiB");
  return content;
}

}  // namespace recblr::server
