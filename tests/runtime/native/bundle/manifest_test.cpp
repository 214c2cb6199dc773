#include "bundle/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "bundle/toy_bundle.h"

namespace recblr {
namespace {

using nlohmann::json;
using testing::error_of;
using testing::manifest_text;
using testing::ToyBundle;

constexpr char kAdvice[] = ": copy the bundle again, or export it again";

Manifest parse(const json& content) { return parse_manifest(manifest_text(content), "b/manifest.json"); }

std::string error_of_text(const std::string& text) {
  return error_of([&] { parse_manifest(text, "b/manifest.json"); });
}

// The error of a manifest that was merged with `changes`, null for a field that is taken out.
std::string error_with(const json& changes) {
  ToyBundle toy;
  json content = toy.manifest();
  for (const auto& [name, value] : changes.items()) content[name] = value;
  return error_of_text(manifest_text(content));
}

TEST(Manifest, SaysWhatIsInTheFile) {
  ToyBundle toy;
  const std::string text = manifest_text(toy.manifest());
  const Manifest manifest = parse_manifest(text, "b/manifest.json");
  EXPECT_EQ(manifest.created, "2025-01-01T00:00:00+00:00");
  EXPECT_EQ(manifest.fingerprint, "sha256:toy");
  EXPECT_EQ(manifest.precision, "fp32");
  EXPECT_EQ(manifest.state_size, 5);
  EXPECT_EQ(manifest.n_items, 9);
  EXPECT_EQ(manifest.max_k, 8);
  EXPECT_EQ(manifest.dim, 4);
  EXPECT_EQ(manifest.n_layers, 2);
  EXPECT_EQ(manifest.norm_epsilon, 1e-12);
  EXPECT_EQ(manifest.json, text);
  ASSERT_EQ(manifest.files.size(), 3u);
  EXPECT_EQ(manifest.files.at("model.onnx").bytes, 165);
  const WeightPlace& place = manifest.weights.at("embedding.weight");
  EXPECT_EQ(place.file, "model.onnx");
  EXPECT_EQ(place.offset, 5);
  EXPECT_EQ(place.shape, (std::vector<int64_t>{10, 4}));
  EXPECT_EQ(place.count(), 40);
}

TEST(Manifest, AWeightMayBeZeroOrEndWithItsFile) {
  ToyBundle toy;
  json content = toy.manifest();
  content["weights"]["zero"] = {{"zeros", true}, {"shape", {2, 3}}, {"dtype", "float32"}};
  content["weights"]["last"] = ToyBundle::place("model.onnx", 161, {1, 1});
  content["weights"]["scalar"] = ToyBundle::place("model.onnx", 0, {});
  const Manifest manifest = parse(content);
  EXPECT_EQ(manifest.weights.at("zero").file, "");
  EXPECT_EQ(manifest.weights.at("zero").count(), 6);
  EXPECT_EQ(manifest.weights.at("last").offset, 161);
  EXPECT_EQ(manifest.weights.at("scalar").count(), 1);
}

TEST(Manifest, LayersMayBeUnknown) {
  ToyBundle toy;
  for (const json& layers : {json(nullptr), json(0), json("2"), json(1025), json(true)}) {
    json content = toy.manifest();
    content["model"]["layers"] = layers;
    EXPECT_EQ(parse(content).n_layers, 0) << layers;
  }
}

TEST(Manifest, NoJson) {
  for (const std::string& text : {std::string(), std::string("{"), std::string("\xff\xfe"), std::string(100000, '['),
                                  std::string("{\"a\": \"\xff\"}"), std::string("{} x")}) {
    EXPECT_EQ(error_of_text(text), std::string("b/manifest.json is damaged, it holds no JSON") + kAdvice);
  }
}

TEST(Manifest, JsonThatIsNone) {
  for (const char* text : {"[]", "null", "3", "{}", "{\"format\": \"other\"}", "{\"format\": 1}"}) {
    EXPECT_EQ(error_of_text(text),
              "b/manifest.json is not a bundle's manifest: give the folder that recblr-export wrote");
  }
  EXPECT_NE(error_of_text(std::string(300000, '[') + std::string(300000, ']')), "");
}

TEST(Manifest, OtherVersions) {
  const std::string path = "b/manifest.json has format version ";
  EXPECT_EQ(error_with({{"format_version", 3}}), path + "3, this recblr reads 2: upgrade recblr");
  EXPECT_EQ(error_with({{"format_version", 1}}), path + "1, this recblr reads 2: export it again");
  EXPECT_EQ(error_with({{"format_version", "2"}}),
            std::string("b/manifest.json: format_version is '2', not a number") + kAdvice);
  // Its checksum is another.
  EXPECT_EQ(error_of_text(R"({"format": "recblr-bundle", "format_version": 1, "checksum": "x"})"),
            path + "1, this recblr reads 2: export it again");
}

TEST(Manifest, AnyChangedByteIsNoticed) {
  ToyBundle toy;
  const std::string text = manifest_text(toy.manifest());
  const std::string altered = std::string("b/manifest.json was altered, its checksum does not match") + kAdvice;
  std::string other = text;
  other.replace(other.find("\"max_k\": 8"), 10, "\"max_k\": 9");
  EXPECT_EQ(error_of_text(other), altered);
  EXPECT_EQ(error_of_text(text + "\n"), altered);
  EXPECT_EQ(error_of_text(text.substr(0, text.size() - 1)), altered);
  for (size_t at = 0; at < text.size(); ++at) {
    other = text;
    other[at] = static_cast<char>(other[at] ^ 1);
    EXPECT_NE(error_of_text(other), "") << at;
  }
}

struct Case {
  const char* changes;
  const char* reason;
};

TEST(Manifest, FieldsThatDoNotFit) {
  const Case cases[] = {
      {R"({"max_k": null})", "max_k is missing or malformed (None)"},
      {R"({"max_k": true})", "max_k is missing or malformed (True)"},
      {R"({"max_k": 1.5})", "max_k is missing or malformed (1.5)"},
      {R"({"state_size": 0})", "state_size is missing or malformed (0)"},
      {R"({"n_items": 18446744073709551615})", "n_items is missing or malformed (18446744073709551615)"},
      {R"({"n_items": 2147483647})", "n_items is missing or malformed (2147483647)"},
      {R"({"created": 1})", "created is missing or malformed (1)"},
      {R"({"fingerprint": 1})", "fingerprint is missing or malformed (1)"},
      {R"({"precision": ["fp32"]})", "precision is missing or malformed (['fp32'])"},
      {R"({"files": []})", "files is missing or malformed ([])"},
      {R"({"model": null})", "model is missing or malformed (None)"},
      {R"({"weights": [1, {"a": "b"}]})", "weights is missing or malformed ([1, {'a': 'b'}])"},
      {R"({"onnx": ""})", "onnx is missing or malformed ('')"},
      {R"({"versions": 1})", "versions is missing or malformed (1)"},
      {R"({"parity": 1})", "parity is missing or malformed (1)"},
      {R"({"metrics": 1})", "metrics is missing or malformed (1)"},
      {R"({"data": 1})", "data is missing or malformed (1)"},
      {R"({"plan": 1})", "plan is missing or malformed (1)"},
      {R"({"plan": {}})", "plan.file is missing or malformed (None)"},
      {R"({"plan": {"file": "a", "plugin_library": ""}})", "plan.plugin_library is missing or malformed ('')"},
      {R"({"model": {}})", "model dim is None with state_size 5"},
      {R"({"model": {"dim": 6}})", "model dim is 6 with state_size 5"},
      {R"({"model": {"dim": 4}})", "model norm_epsilon is missing or malformed (None)"},
      {R"({"model": {"dim": 4, "norm_epsilon": 0.0}})", "model norm_epsilon is missing or malformed (0.0)"},
      {R"({"weights": {}})", "embedding.weight has shape None, not that of 9 items x 4"},
      {R"({"n_items": 10})", "embedding.weight has shape [10, 4], not that of 10 items x 4"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(error_with(json::parse(one.changes)), std::string("b/manifest.json: ") + one.reason + kAdvice);
  }
  const std::string list = "b/manifest.json does not list ";
  EXPECT_EQ(error_with({{"files", json::object()}}), list + "initial_state.npy, items.json, model.onnx" + kAdvice);
  EXPECT_EQ(error_with({{"plan", {{"file", "model.plan"}, {"plugin_library", "lib.so"}}}}),
            list + "lib.so, model.plan" + kAdvice);
}

TEST(Manifest, NeverReachesOutsideItsFolder) {
  for (const char* name : {"../secret", "/etc/passwd", "..", ".", "", "a/b", "a\nb", ".hidden", "ü"}) {
    ToyBundle toy;
    toy.manifest()["files"][name] = {{"sha256", std::string(64, '0')}, {"bytes", 1}};
    EXPECT_NE(error_of_text(manifest_text(toy.manifest())).find("is not a plain file name"), std::string::npos) << name;
  }
}

TEST(Manifest, AFileWithoutHash) {
  for (const char* entry : {"null", "{}", "[]", R"({"sha256": "zz", "bytes": 1})", R"({"sha256": 1, "bytes": 1})"}) {
    ToyBundle toy;
    toy.manifest()["files"]["model.onnx"] = json::parse(entry);
    EXPECT_EQ(error_of_text(manifest_text(toy.manifest())),
              std::string("b/manifest.json: no sha256 and size of model.onnx") + kAdvice);
  }
  for (const json& bytes : {json(nullptr), json(-1), json(true), json(1.0), json(UINT64_MAX)}) {
    ToyBundle toy;
    toy.manifest()["files"]["model.onnx"]["bytes"] = bytes;
    EXPECT_EQ(error_of_text(manifest_text(toy.manifest())),
              std::string("b/manifest.json: no sha256 and size of model.onnx") + kAdvice);
  }
}

TEST(Manifest, WeightsThatAreInNoFile) {
  const Case cases[] = {
      {R"({"dtype": "float16"})", "the weight x has no shape, or is not float32"},
      {R"({"shape": 3})", "the weight x has no shape, or is not float32"},
      {R"({"shape": [3, -1]})", "the weight x has no shape, or is not float32"},
      {R"({"shape": [0]})", "the weight x has no shape, or is not float32"},
      {R"({"shape": [1, 1, 1, 1, 1, 1, 1, 1, 1]})", "the weight x has no shape, or is not float32"},
      {R"({"shape": [4294967296, 4294967296, 4294967296]})", "the weight x has no shape, or is not float32"},
      {R"({"shape": [2305843009213693952], "zeros": true})", "the weight x has no shape, or is not float32"},
      {R"({"file": null})", "the weight x is in the file None, which is not listed"},
      {R"({"file": "../model.onnx"})", "the weight x is in the file '../model.onnx', which is not listed"},
      {R"({"offset": -1})", "the weight x of shape [3] at byte -1 is not within model.onnx"},
      {R"({"offset": true})", "the weight x of shape [3] at byte True is not within model.onnx"},
      {R"({"offset": 154})", "the weight x of shape [3] at byte 154 is not within model.onnx"},
      {R"({"offset": 9223372036854775807})",
       "the weight x of shape [3] at byte 9223372036854775807 is not within model.onnx"},
      {R"({"shape": [2305843009213693951]})",
       "the weight x of shape [2305843009213693951] at byte 0 is not within model.onnx"},
      {R"({"zeros": false, "offset": null})", "the weight x of shape [3] at byte None is not within model.onnx"},
  };
  for (const Case& one : cases) {
    ToyBundle toy;
    json place = ToyBundle::place("model.onnx", 0, {3});
    place.update(json::parse(one.changes));
    toy.manifest()["weights"]["x"] = place;
    EXPECT_EQ(error_of_text(manifest_text(toy.manifest())), std::string("b/manifest.json: ") + one.reason + kAdvice);
  }
}

TEST(Manifest, ErrorsAreOfBundles) {
  try {
    parse_manifest("", "b/manifest.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kBundle);
  }
}

TEST(Manifest, LongValuesAreCut) {
  const std::string error = error_with({{"max_k", json::array({json::array({std::string(500, 'x')}), 2})}});
  EXPECT_LT(error.size(), 200u);
}

}  // namespace
}  // namespace recblr
