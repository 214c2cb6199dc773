#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/oip/infer_request.h"
#include "serving/served.h"

namespace recblr::server {
namespace {

class InferRequestTest : public testing::Test {
 protected:
  Expected<void> read(const std::string& body, std::optional<std::string_view> json_size = std::nullopt) {
    return read_infer_request(body, json_size, limits_, served_.bundle, &question_, &wanted_);
  }
  std::string refusal(const std::string& body, std::optional<std::string_view> json_size = std::nullopt) {
    const Expected<void> was_read = read(body, json_size);
    if (was_read) return "read";
    EXPECT_EQ(was_read.error().status, Status::kInvalidArgument);
    return was_read.error().message;
  }
  std::vector<std::vector<int64_t>> items() const {
    const recblr_ids ids = question_.items.view();
    std::vector<std::vector<int64_t>> rows;
    for (int64_t b = 0; b < ids.n_rows; ++b) {
      rows.emplace_back(ids.integers + ids.offsets[b], ids.integers + ids.offsets[b + 1]);
    }
    return rows;
  }

  serving::Served served_ = serving::served();
  serving::Question question_;
  WantedAnswer wanted_;
  serving::QuestionLimits limits_;
};

using Rows = std::vector<std::vector<int64_t>>;

// A request with one more input.
std::string with_input(const std::string& input) {
  return R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[1],"data":[10]},)" + input + "]}";
}

TEST_F(InferRequestTest, ReadsData) {
  ASSERT_TRUE(
      read("\xef\xbb\xbf"
           R"( {"id":"a","inputs":[
    {"name":"item_ids","datatype":"INT64","shape":[3],"data":[10,20,-9223372036854775808]},
    {"name":"lengths","shape":[2],"datatype":"INT32","data":[1,2],"parameters":{}},
    {"name":"state_in","datatype":"FP32","shape":[2,16],
     "data":[[1,2,3,4,5,6,7,8,0.5,-1e-3,1e3,0,0,0,0,0],[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,18446744073709551615]]}],
    "outputs":[{"name":"items"},{"name":"state_out","parameters":{"binary_data":true}}],
    "parameters":{"k":3,"exclude_seen":false,"sequence_id":0,"headers":{"a":[1]}}, "later":1})"));
  EXPECT_EQ(items(), (Rows{{10}, {20, INT64_MIN}}));
  EXPECT_EQ(question_.k, 3);
  EXPECT_FALSE(question_.exclude_seen);
  EXPECT_TRUE(question_.wants_states);
  ASSERT_EQ(question_.states.size(), 32U);
  EXPECT_EQ(question_.states[9], -1e-3F);
  EXPECT_EQ(question_.states[31], 18446744073709551615.0F);
  EXPECT_EQ(wanted_.id, "a");
  ASSERT_EQ(wanted_.outputs.size(), 2U);
  EXPECT_FALSE(wanted_.outputs[0].is_binary);
  EXPECT_TRUE(wanted_.outputs[1].is_binary);
}

TEST_F(InferRequestTest, ReadsStrings) {
  ASSERT_TRUE(read(R"({"inputs":[{"name":"item_ids","datatype":"BYTES","shape":[2],"data":["10","\u00e9"]}]})"));
  EXPECT_TRUE(question_.items.has_strings());
  EXPECT_EQ(question_.items.n_ids(), 2);
}

TEST_F(InferRequestTest, ReadsBytesBehindTheJson) {
  const int64_t ids[] = {10, 20, 30}, lengths[] = {1, 2};
  const std::string json =
      R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[3],"parameters":{"binary_data_size":24}},
      {"name":"exclude_ids","datatype":"INT64","shape":[0],"data":[]},
      {"name":"exclude_lengths","datatype":"INT64","shape":[2],"data":[0,0]},
      {"name":"lengths","datatype":"INT64","shape":[2],"parameters":{"binary_data_size":16}}],
      "parameters":{"binary_data_output":true}})";
  const std::string bytes =
      std::string(reinterpret_cast<const char*>(ids), 24) + std::string(reinterpret_cast<const char*>(lengths), 16);
  ASSERT_TRUE(read(json + bytes, std::to_string(json.size())));
  EXPECT_EQ(items(), (Rows{{10}, {20, 30}}));
  EXPECT_TRUE(wanted_.is_binary);
  EXPECT_EQ(refusal(json + bytes.substr(0, 39), std::to_string(json.size())),
            "inputs[3].parameters.binary_data_size is 16, but 15 bytes are left behind the JSON: give the size of the "
            "tensor's");
  EXPECT_EQ(refusal(json + bytes + "!", std::to_string(json.size())),
            "1 bytes are left behind the tensors: give each input in bytes its binary_data_size");
}

TEST_F(InferRequestTest, WrongSizesOfJsonAreRefused) {
  for (const std::string size : {"0", "-1", "3", "2x", "99999999999999999999", " 2", "0x2"}) {
    EXPECT_EQ(refusal("{}", size), "Inference-Header-Content-Length is '" + size +
                                       "': give the size of the JSON in bytes, at most the 2 of the body");
  }
}

TEST_F(InferRequestTest, WrongJsonIsRefused) {
  EXPECT_EQ(refusal(""), "the body is no JSON (incomplete JSON): give an object with inputs");
  EXPECT_EQ(refusal("{} {}"), "the body is no JSON (extra data): give an object with inputs");
  EXPECT_EQ(refusal("[]"), "the body is a list: give an object with inputs");
  EXPECT_EQ(refusal("{}"), "inputs is missing: give a list of tensors");
  EXPECT_EQ(refusal(R"({"inputs":null})"), "inputs is null: give a list of tensors");
  EXPECT_EQ(refusal(R"({"inputs":[1]})"), "inputs[0] is 1: give an object");
  EXPECT_EQ(refusal(R"({"inputs":[{}]})"), "inputs[0].name is missing: give a string");
  EXPECT_EQ(refusal(R"({"inputs":[],"id":7})"), "id is 7: give a string");
  EXPECT_EQ(refusal(R"({"inputs":[],"id":")" + std::string(1025, 'a') + "\"}"),
            "id has 1,025 bytes: give at most 1,024");
  EXPECT_EQ(refusal(R"({"inputs":[],"parameters":[]})"), "parameters is a list: give an object");
  EXPECT_EQ(refusal(R"({"inputs":[],"parameters":{"binary_data_output":1}})"),
            "parameters.binary_data_output is 1: give true or false");
  EXPECT_EQ(refusal(R"({"inputs":[],"parameters":{"exclude_sen":false}})"),
            "parameter 'exclude_sen' is none of this model's: use k, exclude_seen, timeout_ms, timeout, model");
  EXPECT_EQ(refusal(R"({"inputs":[],"outputs":{}})"), "outputs is an object: give a list of objects");
  EXPECT_EQ(refusal(R"({"inputs":[],"outputs":["items"]})"), "outputs[0] is 'items': give an object");
  EXPECT_EQ(refusal(R"({"inputs":[],"outputs":[{"name":"items","parameters":{"classification":3}}]})"),
            "outputs[0].parameters.classification cannot be given: this model's outputs are rankings already");
  EXPECT_EQ(refusal(std::string(100000, '[')), "the body is a list: give an object with inputs");
  EXPECT_NE(refusal(R"({"later":)" + std::string(100000, '[')).find("no JSON"), std::string::npos);
}

TEST_F(InferRequestTest, WhatIsThereTwiceIsRefused) {
  EXPECT_EQ(refusal(R"({"inputs":[],"inputs":[]})"), "inputs is there twice: give it once");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","shape":[1],"data":[1],"data":[2]})")),
            "inputs[1].data is there twice: give it once");
  EXPECT_EQ(refusal(R"({"parameters":{"k":1,"k":2}})"), "parameters.k is there twice: give it once");
  EXPECT_EQ(refusal(R"({"outputs":[{"name":"items","parameters":{"binary_data":true,"binary_data":true}}]})"),
            "outputs[0].parameters.binary_data is there twice: give it once");
}

TEST_F(InferRequestTest, TheOrderOfFieldsIsFree) {
  ASSERT_TRUE(read(R"({"outputs":[{"parameters":{},"name":"items"}],"parameters":{"binary_data_output":true},"inputs":[
    {"data":["10"],"shape":[1],"later":{"data":["a",[null]]},"datatype":"BYTES","name":"item_ids"}]})"));
  EXPECT_TRUE(wanted_.outputs[0].is_binary);
  EXPECT_TRUE(question_.items.has_strings());
}

TEST_F(InferRequestTest, MoreThanMayBeAskedIsNotKept) {
  limits_.max_ids = 3;
  limits_.max_users = 0;
  EXPECT_EQ(refusal(R"({"inputs":[{"name":"item_ids","datatype":"INT64","shape":[4],"data":[10,20,[30,40]]}]})"),
            "inputs[0].data has 4 values, the limit is 3: send fewer at once");
  std::string inputs = "{}";
  for (int j = 0; j < 100; ++j) inputs = R"({"name":"a","datatype":"b","shape":[],"data":[]},)" + inputs;
  EXPECT_EQ(refusal(R"({"inputs":[)" + inputs + "]}"), "inputs has more tensors than this model: give each once");
}

TEST_F(InferRequestTest, WrongTensorsAreRefused) {
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","data":[1]})")),
            "inputs[1].shape is missing: give a list of whole numbers");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","shape":[1.5],"data":[1]})")),
            "inputs[1].shape has 1.5: give whole numbers");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","shape":[1]})")),
            "inputs[1].data is missing: give a list, or bytes behind the JSON with the parameter binary_data_size");
  EXPECT_EQ(refusal(with_input(
                R"({"name":"lengths","datatype":"INT64","shape":[1],"data":[1],"parameters":{"binary_data_size":8}})")),
            "inputs[1].data and binary_data_size are given: give one of them");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","shape":[1],"data":[true]})")),
            "value 0 of 'lengths' is true: give whole numbers of 64 bits");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","shape":[1],"data":[9223372036854775808]})")),
            "value 0 of 'lengths' is 9223372036854775808: give whole numbers of 64 bits");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT32","shape":[1],"data":[4294967296]})")),
            "value 0 of 'lengths' is 4294967296: give numbers of 32 bits, or INT64");
  EXPECT_EQ(refusal(with_input(R"({"name":"only_ids","datatype":"BYTES","shape":[2],"data":["a",1]})")),
            "value 1 of 'only_ids' is 1: give strings");
  EXPECT_EQ(refusal(with_input(R"({"name":"state_in","datatype":"FP32","shape":[1],"data":["a"]})")),
            "value 0 of 'state_in' is 'a': give numbers");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"INT64","shape":[3],"data":[1,2.50,"a"]})")),
            "value 1 of 'lengths' is 2.50: give whole numbers of 64 bits");
  EXPECT_EQ(refusal(with_input(R"({"name":"state_in","datatype":"FP32","shape":[3],"data":[1,2.5,[null,"a"]]})")),
            "value 2 of 'state_in' is null: give numbers");
  EXPECT_EQ(refusal(with_input(R"({"name":"lengths","datatype":"FP64","shape":[1],"data":[1]})")),
            "lengths is of type 'FP64': send INT64");
}

}  // namespace
}  // namespace recblr::server
