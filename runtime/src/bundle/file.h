// The content of a bundle's file, that no change of the file reaches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace recblr {

// What to do about a file that is not as it was written; ends messages.
inline constexpr char kCopyAgain[] = "copy the bundle again, or export it again";

// A private copy of a file's content; its SHA-256 is that of the bytes copied. All below throw Error(kBundle), which
// names the file: it is missing, cannot be read or is no regular file, or changes its size meanwhile.
class FileCopy {
 public:
  // In memory up to kLargestInMemory, else in an unlinked file that is mapped: in the file's own folder, where a file
  // system that shares blocks needs neither time nor space for it, else in $TMPDIR, /var/tmp or /tmp, else in memory.
  static FileCopy of(const std::string& path);
  // In memory, whatever its size: for what is read once.
  static FileCopy in_memory(const std::string& path);

  FileCopy(FileCopy&&) noexcept;
  FileCopy& operator=(FileCopy&&) noexcept;
  ~FileCopy();

  std::string_view content() const;
  const std::string& sha256() const;

  static constexpr int64_t kLargestInMemory = int64_t{1} << 20;

 private:
  struct Parts;
  explicit FileCopy(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// The SHA-256 of a file that is read and not kept, as 64 hex digits.
std::string sha256_of_file(const std::string& path);

// In bytes.
int64_t size_of_file(const std::string& path);

}  // namespace recblr
