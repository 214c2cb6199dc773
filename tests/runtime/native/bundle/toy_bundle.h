// A small bundle on the disk, for tests to open and to damage.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "bundle/sha256.h"

namespace recblr::testing {

// A manifest as recblr.runtime.bundle.manifest writes it, with its checksum.
inline std::string manifest_text(nlohmann::json content) {
  content.erase("checksum");
  std::string body = content.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  body.resize(body.size() - 2);  // the end of the object
  body += content.empty() ? "{\n  " : ",\n  ";
  return body + "\"checksum\": \"" + sha256_of(body) + "\"\n}\n";
}

// A vector of float32 as numpy.save writes it.
inline std::string npy(const std::vector<float>& values, const std::string& descr = "<f4") {
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + std::to_string(values.size()) + ",), }";
  header.resize(117, ' ');
  header += '\n';
  std::string text = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header;
  return text + std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

// A bundle of 9 items and D = 4, whose embedding's numbers are 0, 1, 2, ..., at byte 5 of model.onnx. Gone at the end.
class ToyBundle {
 public:
  static constexpr int64_t kItems = 9, kDim = 4, kOffset = 5;

  ToyBundle() {
    std::string name = (std::filesystem::temp_directory_path() / "recblr-bundle-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    std::vector<float> embedding((kItems + 1) * kDim);
    for (size_t i = 0; i < embedding.size(); ++i) embedding[i] = static_cast<float>(i);
    write_file(folder_ / "model.onnx",
               std::string(kOffset, 'x') +
                   std::string(reinterpret_cast<const char*>(embedding.data()), embedding.size() * sizeof(float)));
    write_file(folder_ / "items.json",
               R"({"id_type": "integer", "ids": [10, 20, 30, 40, 50, 60, 70, 80, 9223372036854775807],
                   "counts": [3, 7, 7, 0, 5, 1, 1, 2, 4]})");
    write_file(folder_ / "initial_state.npy", npy(std::vector<float>(1 + kDim)));
    manifest_ = {
        {"format", "recblr-bundle"},
        {"format_version", 2},
        {"created", "2025-01-01T00:00:00+00:00"},
        {"fingerprint", "sha256:toy"},
        {"model", {{"dim", kDim}, {"norm_epsilon", 1e-12}, {"layers", 2}}},
        {"precision", "fp32"},
        {"state_size", 1 + kDim},
        {"n_items", kItems},
        {"max_k", 8},
        {"weights", {{"embedding.weight", place("model.onnx", kOffset, {kItems + 1, kDim})}}},
        {"onnx", {{"opset", 18}}},
        {"versions", nlohmann::json::object()},
        {"files", nlohmann::json::object()},
        {"parity", nlohmann::json::object()},
        {"metrics", {{"größte", 0.5}}},
        {"data", nlohmann::json::object()},
        {"plan", nullptr},
    };
    for (const char* file : {"model.onnx", "items.json", "initial_state.npy"}) rehash(file);
  }
  ToyBundle(const ToyBundle&) = delete;
  ~ToyBundle() { std::filesystem::remove_all(folder_); }

  const std::filesystem::path& folder() const { return folder_; }
  std::string path() const { return folder_.string(); }
  nlohmann::json& manifest() { return manifest_; }

  static nlohmann::json place(const std::string& file, int64_t offset, const std::vector<int64_t>& shape) {
    return {{"file", file}, {"offset", offset}, {"shape", shape}, {"dtype", "float32"}};
  }

  // Writes the manifest as it is.
  void write_manifest() const { write_file(folder_ / "manifest.json", manifest_text(manifest_)); }

  // Lists a file as it is on the disk.
  void rehash(const std::string& name) {
    const std::string content = read_file(folder_ / name);
    manifest_["files"][name] = {{"sha256", sha256_of(content)}, {"bytes", content.size()}};
    write_manifest();
  }

  // Writes a file, under a right hash.
  void replace(const std::string& name, const std::string& content) {
    write_file(folder_ / name, content);
    rehash(name);
  }

 private:
  std::filesystem::path folder_;
  nlohmann::json manifest_;
};

// What the Error that `run` throws says; "" if it throws none.
template <typename Run>
std::string error_of(Run&& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace recblr::testing
