// The content of a bundle's file, that no change of the file reaches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace recblr {

// A private copy of a file's content: in memory if small, else in an unlinked file beside it, in a temporary folder or
// in memory, which is mapped. Its SHA-256 is that of the bytes copied.
class FileCopy {
 public:
  // Copies; throws Error(kBundle) if the file cannot be read, is not a regular file, or changes its size meanwhile.
  static FileCopy of(const std::string& path);
  FileCopy(FileCopy&&) noexcept;
  FileCopy& operator=(FileCopy&&) noexcept;
  ~FileCopy();

  std::string_view content() const;
  const std::string& sha256() const;

 private:
  FileCopy();
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The SHA-256 of a file that is read and not kept, as 64 hex digits.
std::string sha256_of_file(const std::string& path);
std::string sha256_of(std::string_view content);

}  // namespace recblr
