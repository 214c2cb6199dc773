#include "bundle/bundle.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "base/error.h"
#include "bundle/toy_bundle.h"

namespace recblr {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::npy;
using testing::read_file;
using testing::ToyBundle;
using testing::write_file;

constexpr char kAdvice[] = ": copy the bundle again, or export it again";

std::string error_of_opening(const std::string& path) {
  return error_of([&] { Bundle::open(path); });
}

std::vector<float> numbers(const void* weight, size_t count) {
  std::vector<float> values(count);
  std::memcpy(values.data(), weight, count * sizeof(float));
  return values;
}

std::vector<float> expected_embedding() {
  std::vector<float> values((ToyBundle::kItems + 1) * ToyBundle::kDim);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return values;
}

TEST(Bundle, AnIntactOne) {
  ToyBundle toy;
  toy.manifest()["weights"]["zero"] = {{"zeros", true}, {"shape", {3}}, {"dtype", "float32"}};
  toy.write_manifest();
  const auto bundle = Bundle::open(toy.path());
  EXPECT_EQ(bundle->path(), toy.path());
  EXPECT_EQ(bundle->state_size(), 5);
  EXPECT_EQ(bundle->n_items(), 9);
  EXPECT_EQ(bundle->dim(), 4);
  EXPECT_EQ(bundle->vocabulary().index(int64_t{20}), 2);
  EXPECT_EQ(bundle->initial_state(), std::vector<float>(5));
  EXPECT_EQ(numbers(bundle->weight("embedding.weight"), 40), expected_embedding());
  EXPECT_EQ(bundle->weight("zero"), nullptr);
  EXPECT_EQ(error_of([&] { bundle->weight("other"); }),
            toy.path() + "/manifest.json has no weight other: export the bundle again");
}

TEST(Bundle, AFileOfItStandsForIt) {
  ToyBundle toy;
  for (const char* name : {"", "/", "//", "/model.onnx", "/manifest.json", "/items.json"}) {
    EXPECT_EQ(Bundle::open(toy.path() + name)->path(), toy.path()) << name;
  }
  write_file(toy.folder() / "other.onnx", "");
  EXPECT_EQ(error_of_opening(toy.path() + "/other.onnx"),
            toy.path() + "/other.onnx is not one of the files of the bundle beside it: give its folder, " + toy.path());
}

TEST(Bundle, NothingThere) {
  ToyBundle toy;
  const std::string advice = ": give the folder that recblr-export wrote";
  const std::string nowhere = toy.path() + "/nowhere";
  EXPECT_EQ(error_of_opening(nowhere), nowhere + " does not exist" + advice);
  EXPECT_EQ(error_of_opening("/dev/null"), "/dev/null is neither a folder nor a file of a bundle" + advice);
  fs::remove(toy.folder() / "manifest.json");
  EXPECT_EQ(error_of_opening(toy.path()), toy.path() + " is no bundle, it holds no manifest.json" + advice);
  EXPECT_EQ(error_of_opening(toy.path() + "/model.onnx"),
            toy.path() + "/model.onnx is no bundle, nor a file of one" + advice);
}

TEST(Bundle, ADamagedFileIsNamed) {
  for (const char* name : {"model.onnx", "items.json", "initial_state.npy"}) {
    ToyBundle toy;
    const std::string path = toy.path() + "/" + name, content = read_file(path);
    const std::string size = std::to_string(content.size());
    fs::remove(path);
    EXPECT_EQ(error_of_opening(toy.path()), path + " is missing" + kAdvice);
    write_file(path, content.substr(1));
    EXPECT_EQ(error_of_opening(toy.path()),
              path + " has " + std::to_string(content.size() - 1) + " bytes, its manifest says " + size + kAdvice);
    write_file(path, content + "x");
    EXPECT_EQ(error_of_opening(toy.path()),
              path + " has " + std::to_string(content.size() + 1) + " bytes, its manifest says " + size + kAdvice);
    std::string altered = content;
    altered[altered.size() / 2] = static_cast<char>(altered[altered.size() / 2] ^ 1);
    write_file(path, altered);
    EXPECT_EQ(error_of_opening(toy.path()), path + " was altered, its sha256 is " + sha256_of(altered).substr(0, 12) +
                                                "... and its manifest says " + sha256_of(content).substr(0, 12) +
                                                "..." + kAdvice);
  }
}

TEST(Bundle, FilesWithoutWeightsAreVerifiedToo) {
  ToyBundle toy;
  toy.replace("model.plan", "a plan");
  EXPECT_EQ(error_of_opening(toy.path()), "");
  write_file(toy.folder() / "model.plan", "A plan");
  EXPECT_NE(error_of_opening(toy.path()).find("model.plan was altered"), std::string::npos);
}

TEST(Bundle, HashesAloneMakeNone) {
  const std::pair<std::string, std::pair<const char*, std::string>> cases[] = {
      {"{}",
       {"items.json",
        ": no item vocabulary: it needs id_type, ids and counts; write it again; " + std::string(kAdvice + 2)}},
      {"{", {"items.json", std::string(" is damaged, it holds no JSON") + kAdvice}},
      {R"({"id_type": "integer", "ids": [1], "counts": [1]})",
       {"items.json", std::string(" holds 1 items, its manifest says 9") + kAdvice}},
      {"", {"initial_state.npy", std::string(" is no NumPy array") + kAdvice}},
      {"\x80\x04N.", {"initial_state.npy", std::string(" is no NumPy array") + kAdvice}},  // a pickle
      {npy({0, 0, 0, 0, 0}).substr(0, 140), {"initial_state.npy", std::string(" is no NumPy array") + kAdvice}},
      {npy({0, 0, 0, 0, 0}, "<f8"), {"initial_state.npy", std::string(" is float64 (5,), not float32 (5,)") + kAdvice}},
      {npy({0, 0, 0, 0}), {"initial_state.npy", std::string(" is float32 (4,), not float32 (5,)") + kAdvice}},
      {npy({NAN, 0, 0, 0, 0}), {"initial_state.npy", std::string(" holds values that are not finite") + kAdvice}},
      {npy({0, 0, 0, 0, 1}),
       {"initial_state.npy", " ends in a query vector that is not zero, as a new user's is: export it again"}},
  };
  for (const auto& [content, expected] : cases) {
    ToyBundle toy;
    toy.replace(expected.first, content);
    EXPECT_EQ(error_of_opening(toy.path()), toy.path() + "/" + expected.first + expected.second);
  }
}

TEST(Bundle, AnInitialStateThatIsNotZero) {
  ToyBundle toy;
  toy.replace("initial_state.npy", npy({0.5, 0, 0, 0, -0.0F}));
  EXPECT_EQ(Bundle::open(toy.path())->initial_state()[0], 0.5F);
}

// The embedding behind so many bytes of a file of its own.
void put_aside(ToyBundle* toy, int64_t offset) {
  const fs::path path = toy->folder() / "model.onnx.data";
  write_file(path, "");
  fs::resize_file(path, static_cast<uintmax_t>(offset));  // sparse
  std::ofstream(path, std::ios::binary | std::ios::app) << read_file(toy->folder() / "model.onnx").substr(5);
  toy->manifest()["weights"]["embedding.weight"] = ToyBundle::place("model.onnx.data", offset, {10, 4});
  toy->manifest()["files"]["model.onnx.data"] = {{"sha256", sha256_of_file(path.string())}, {"bytes", offset + 160}};
  toy->write_manifest();
}

TEST(Bundle, WeightsInAFileOfTheirOwn) {
  for (const int64_t offset : {int64_t{64}, int64_t{3} << 20}) {  // in memory, and mapped
    ToyBundle toy;
    put_aside(&toy, offset);
    EXPECT_EQ(numbers(Bundle::open(toy.path())->weight("embedding.weight"), 40), expected_embedding());
  }
}

TEST(Bundle, WhatHappensToItsFilesDoesNotReachIt) {
  for (const bool aside : {false, true}) {
    ToyBundle toy;
    if (aside) put_aside(&toy, int64_t{2} << 20);
    const auto bundle = Bundle::open(toy.path());
    const void* weight = bundle->weight("embedding.weight");
    for (const char* name : {"model.onnx", "model.onnx.data", "items.json", "manifest.json"}) {
      if (!fs::exists(toy.folder() / name)) continue;
      const fs::path path = toy.folder() / name;
      write_file(path, std::string(static_cast<size_t>(fs::file_size(path)), '\xff'));
      EXPECT_EQ(numbers(weight, 40), expected_embedding());
      ASSERT_EQ(truncate(path.c_str(), 0), 0);
      EXPECT_EQ(numbers(weight, 40), expected_embedding());
      fs::remove(path);
    }
    fs::remove_all(toy.folder());
    EXPECT_EQ(numbers(weight, 40), expected_embedding());
    EXPECT_EQ(bundle->vocabulary().index(int64_t{80}), 8);
  }
}

TEST(Bundle, OverwrittenAllTheWhile) {
  ToyBundle toy;
  put_aside(&toy, int64_t{2} << 20);
  const fs::path path = toy.folder() / "model.onnx.data";
  const std::string right = read_file(path), wrong(right.size(), 'x');
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) {
      for (const std::string& content : {wrong, right}) {
        write_file(path, content);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    }
  });
  for (int i = 0; i < 50; ++i) {  // the right weights, or an error, and no signal
    try {
      const auto bundle = Bundle::open(toy.path());
      EXPECT_EQ(numbers(bundle->weight("embedding.weight"), 40), expected_embedding());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kBundle);
    }
  }
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace recblr
