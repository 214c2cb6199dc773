#include "bundle/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bundle/sha256.h"

namespace recblr {

namespace {

constexpr size_t kPiece = size_t{1} << 20;

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }

 private:
  int number_;
};

[[noreturn]] void refuse_unreadable(const std::string& path, int error) {
  if (error == ENOENT || error == ENOTDIR) refuse(Code::kBundle, path + " is missing: " + kCopyAgain);
  refuse(Code::kBundle, path + " cannot be read: " + std::strerror(error));
}

[[noreturn]] void refuse_changed(const std::string& path) {
  refuse(Code::kBundle, path + " changed while it was read: open the bundle once it is written");
}

// An open regular file, and its size when it was opened.
struct Source {
  const std::string& path;
  Descriptor file;
  int64_t size;

  // Gives the content to `take(std::string_view)` piece by piece, until that returns false; whether it never did.
  template <typename Take>
  bool read(Take&& take) const {
    std::vector<char> piece(std::min(kPiece, static_cast<size_t>(size) + 1));
    for (int64_t at = 0;;) {
      const ssize_t got = pread(file.get(), piece.data(), piece.size(), at);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) refuse_unreadable(path, errno);
      if (got == 0 && at < size) refuse_changed(path);
      if (got == 0) return true;
      at += got;
      if (at > size) refuse_changed(path);
      if (!take(std::string_view(piece.data(), static_cast<size_t>(got)))) return false;
    }
  }
};

Source open_source(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // of a pipe, it would wait for a writer
  struct stat status{};
  if (!file || fstat(file.get(), &status) != 0) refuse_unreadable(path, errno);
  if (!S_ISREG(status.st_mode)) refuse(Code::kBundle, path + " is no regular file: " + kCopyAgain);
  return Source{path, std::move(file), static_cast<int64_t>(status.st_size)};
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// A file in this folder that has no name; where the file system has none such, one that lost it at once.
Descriptor unnamed_file(const std::string& folder, bool may_name) {
  Descriptor file(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file || !may_name) return file;
  std::string name = folder + "/recblr-XXXXXX";
  Descriptor named(mkostemp(name.data(), O_CLOEXEC));
  if (named) unlink(name.c_str());
  return named;
}

bool write_all(int file, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = write(file, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    content.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

struct FileCopy::Parts {
  std::string memory;
  void* mapped = nullptr;
  size_t size = 0;  // of what is mapped
  std::string sha256;

  ~Parts() {
    if (mapped != nullptr) munmap(mapped, size);
  }

  // Whether the file, of `size` bytes, was mapped.
  bool map(const Descriptor& file) {
    void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (address == MAP_FAILED) return false;
    mapped = address;
    return true;
  }

  // Copies into `file`, unless that is full, and maps it.
  bool copy(const Source& source, const Descriptor& file) {
    if (!file) return false;
    size = static_cast<size_t>(source.size);
    if (ioctl(file.get(), FICLONE, source.file.get()) == 0) {
      struct stat status{};
      if (fstat(file.get(), &status) != 0 || status.st_size != source.size) refuse_changed(source.path);
      if (!map(file)) return false;
      sha256 = sha256_of({static_cast<const char*>(mapped), size});
      return true;
    }
    Sha256 digest;
    const bool complete = source.read([&](std::string_view piece) {
      digest.update(piece);  // of the same bytes that are written
      return write_all(file.get(), piece);
    });
    if (!complete || !map(file)) return false;
    sha256 = digest.hex();
    return true;
  }
};

FileCopy FileCopy::of(const std::string& path) {
  const Source source = open_source(path);
  if (source.size <= kLargestInMemory) return in_memory(path);
  auto parts = std::make_unique<Parts>();
  const char* temporary = std::getenv("TMPDIR");
  bool copied = parts->copy(source, unnamed_file(folder_of(path), false));
  for (const char* folder : {temporary, "/var/tmp", "/tmp"}) {
    if (!copied && folder != nullptr && *folder != '\0') copied = parts->copy(source, unnamed_file(folder, true));
  }
  if (!copied && !parts->copy(source, Descriptor(memfd_create("recblr", MFD_CLOEXEC)))) {
    refuse(Code::kBundle, path + " cannot be copied (" + std::strerror(errno) +
                              "): free as much space as it takes, in its folder, $TMPDIR, /var/tmp or memory");
  }
  return FileCopy(std::move(parts));
}

FileCopy FileCopy::in_memory(const std::string& path) {
  const Source source = open_source(path);
  auto parts = std::make_unique<Parts>();
  parts->memory.reserve(static_cast<size_t>(source.size));
  source.read([&](std::string_view piece) {
    parts->memory += piece;
    return true;
  });
  parts->sha256 = sha256_of(parts->memory);
  return FileCopy(std::move(parts));
}

FileCopy::FileCopy(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
FileCopy::FileCopy(FileCopy&&) noexcept = default;
FileCopy& FileCopy::operator=(FileCopy&&) noexcept = default;
FileCopy::~FileCopy() = default;

std::string_view FileCopy::content() const {
  if (parts_->mapped != nullptr) return {static_cast<const char*>(parts_->mapped), parts_->size};
  return parts_->memory;
}

const std::string& FileCopy::sha256() const { return parts_->sha256; }

std::string sha256_of_file(const std::string& path) {
  Sha256 digest;
  open_source(path).read([&](std::string_view piece) {
    digest.update(piece);
    return true;
  });
  return digest.hex();
}

int64_t size_of_file(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) refuse_unreadable(path, errno);
  return static_cast<int64_t>(status.st_size);
}

}  // namespace recblr
