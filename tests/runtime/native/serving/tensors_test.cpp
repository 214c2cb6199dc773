#include "serving/tensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "served.h"

namespace recblr::serving {
namespace {

using Shape = std::vector<int64_t>;

template <typename Number>
std::string bytes(const std::vector<Number>& numbers) {
  return std::string(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number));
}

std::string bytes(const std::vector<std::string>& strings) {
  std::string content;
  for (const std::string& string : strings) content += bytes(std::vector<uint32_t>(1, string.size())) + string;
  return content;
}

template <typename Number>
std::vector<Number> numbers(const std::string& content) {
  std::vector<Number> read(content.size() / sizeof(Number));
  std::memcpy(read.data(), content.data(), content.size());
  return read;
}

class TensorsTest : public testing::Test {
 public:
  TensorsTest& give(std::string_view name, std::string_view type, const Shape& shape, const std::string& content) {
    contents_.push_back(content);
    tensors_.push_back({name, type, shape, contents_.back()});
    return *this;
  }
  TensorsTest& ids(const std::vector<int64_t>& ids) {
    return give("item_ids", "INT64", {static_cast<int64_t>(ids.size())}, bytes(ids));
  }
  TensorsTest& integers(std::string_view name, const std::vector<int64_t>& values) {
    return give(name, "INT64", {static_cast<int64_t>(values.size())}, bytes(values));
  }

 protected:
  Expected<void> read(const Bundle& bundle) {
    return read_question(tensors_, parameters_, outputs_, bundle, &question_);
  }
  void answer(const Served& served) {
    const Expected<void> was_read = read(served.bundle);
    ASSERT_TRUE(was_read) << was_read.error().message;
    const Expected<void> asked = ask(served.bundle, served.engine, &question_);
    ASSERT_TRUE(asked) << asked.error().message;
    answer_ = answer_tensors(question_, outputs_, served.bundle);
  }
  std::string refusal() {
    const Expected<void> was_read = read(integer_.bundle);
    tensors_.clear();
    parameters_.clear();
    outputs_.clear();
    if (was_read) return "read";
    EXPECT_EQ(was_read.error().status, Status::kInvalidArgument);
    return was_read.error().message;
  }
  const OutputTensor& output(std::string_view name) {
    for (const OutputTensor& tensor : answer_) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name << " is no output";
    return answer_.at(0);
  }

  std::deque<std::string> contents_;
  std::vector<Tensor> tensors_;
  Parameters parameters_;
  std::vector<std::string_view> outputs_;
  Question question_;
  std::vector<OutputTensor> answer_;
  Served integer_ = served();
};

TEST_F(TensorsTest, RaggedUsersAreAnsweredAndFilledUp) {
  ids({10, 20, 99, 30}).integers("lengths", {3, 0, 1});
  parameters_ = {{"k", int64_t{6}}, {"unknown", std::string("left alone")}};
  answer(integer_);
  ASSERT_EQ(answer_.size(), 5U);
  EXPECT_EQ(answer_[0].name, "items");
  EXPECT_EQ(output("items").shape, (Shape{3, 6}));
  EXPECT_EQ(numbers<int64_t>(output("counts").content), (std::vector<int64_t>{4, 6, 5}));
  EXPECT_EQ(numbers<int64_t>(output("unknown").content), (std::vector<int64_t>{1, 0, 0}));
  EXPECT_EQ(numbers<uint8_t>(output("popular").content), (std::vector<uint8_t>{0, 1, 0}));
  const auto items = numbers<int64_t>(output("items").content);
  const auto scores = numbers<float>(output("scores").content);
  ASSERT_EQ(items.size(), 18U);
  ASSERT_EQ(scores.size(), 18U);
  EXPECT_NE(items[3], 0);
  EXPECT_EQ(items[4], 0);
  EXPECT_EQ(scores[5], std::numeric_limits<float>::lowest());
  EXPECT_EQ(items[6], 60);  // the most popular
  EXPECT_EQ(scores[6], 6.0F);
}

TEST_F(TensorsTest, TheModelThatIsNamedMustBeTheOneThatIsAsked) {
  const std::string fingerprint(integer_.bundle.fingerprint());
  ids({10});
  parameters_ = {{"model", fingerprint}};
  EXPECT_TRUE(read(integer_.bundle));
  parameters_ = {{"model", std::string("sha256:12")}};
  EXPECT_EQ(refusal(),
            "the model is " + fingerprint + ", not 'sha256:12': a state is of one model only; feed the whole history");
  parameters_ = {{"model", int64_t{1}}};
  EXPECT_EQ(refusal(), "model is 1: give a fingerprint, as answers name it");
}

TEST_F(TensorsTest, NamesOfParametersAreChecked) {
  for (const char* name :
       {"k", "exclude_seen", "timeout_ms", "timeout", "model", "priority", "sequence_id", "sequence_start",
        "binary_data_output", "triton_enable_empty_final_response", "headers", "content_type"}) {
    EXPECT_TRUE(check_parameter_name(name)) << name;
  }
  for (const char* name : {"kk", "K", "", "exclude_sen", "time", "models"}) {
    const Expected<void> checked = check_parameter_name(name);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().status, Status::kInvalidArgument);
    EXPECT_EQ(checked.error().message, "parameter '" + std::string(name) + "' is none of this model's: use k, " +
                                           "exclude_seen, timeout_ms, timeout, model");
  }
}

TEST_F(TensorsTest, OffsetsAreLengths) {
  ids({10, 20, 30}).give("offsets", "INT32", {3}, bytes<int32_t>({0, 1, 3}));
  ASSERT_TRUE(read(integer_.bundle));
  ASSERT_EQ(question_.n_users(), 2);
  EXPECT_EQ(question_.items.size(0), 1);
  EXPECT_EQ(question_.items.size(1), 2);
}

TEST_F(TensorsTest, WithoutLengthsAllIsOneUsers) {
  give("item_ids", "INT32", {2}, bytes<int32_t>({10, 20}));
  ASSERT_TRUE(read(integer_.bundle));
  EXPECT_EQ(question_.n_users(), 1);
  EXPECT_EQ(question_.items.size(0), 2);
}

TEST_F(TensorsTest, NoUsersAreAnsweredWithNothing) {
  ids({}).integers("lengths", {});
  answer(integer_);
  EXPECT_EQ(output("items").shape, (Shape{0, 0}));
  EXPECT_EQ(output("counts").shape, (Shape{0}));
  EXPECT_EQ(output("items").content, "");
}

TEST_F(TensorsTest, StringsAreAnsweredWithStrings) {
  const Served strings = served(true);
  give("item_ids", "BYTES", {4}, bytes({"item-1", "item-2", "", "item-3"})).integers("lengths", {1, 3});
  parameters_ = {{"k", int64_t{5}}};
  answer(strings);
  EXPECT_EQ(output("items").type, DataType::kBytes);
  EXPECT_EQ(output("items").shape, (Shape{2, 5}));
  const std::string& content = output("items").content;
  EXPECT_EQ(content.substr(4, 5), "item-");
  EXPECT_EQ(content.substr(content.size() - 4), std::string(4, '\0'));  // behind four results
  EXPECT_EQ(numbers<int64_t>(output("unknown").content), (std::vector<int64_t>{0, 1}));
}

TEST_F(TensorsTest, StatesComeAndGo) {
  ids({10, 20});
  outputs_ = {"state_out", "scores"};
  answer(integer_);
  ASSERT_EQ(answer_.size(), 2U);
  EXPECT_EQ(answer_[0].shape, (Shape{1, 16}));
  const std::string state = answer_[0].content;
  ASSERT_EQ(state.size(), 64U);
  tensors_.clear();
  outputs_ = {"scores"};
  parameters_ = {{"exclude_seen", false}};
  ids({30}).give("state_in", "FP32", {1, 16}, state);
  answer(integer_);
  const std::string carried_on = answer_[0].content;
  tensors_.clear();
  ids({10, 20, 30});
  answer(integer_);
  EXPECT_EQ(answer_[0].content, carried_on);
}

TEST_F(TensorsTest, LeavesOutAndChooses) {
  ids({10, 20}).integers("lengths", {1, 1});
  integers("exclude_ids", {30}).integers("exclude_offsets", {0, 0, 1}).integers("only_ids", {30, 40});
  answer(integer_);
  EXPECT_EQ(numbers<int64_t>(output("counts").content), (std::vector<int64_t>{2, 1}));
}

TEST_F(TensorsTest, TimeoutsAreSeconds) {
  parameters_ = {{"timeout_ms", int64_t{250}}};
  ids({10});
  ASSERT_TRUE(read(integer_.bundle));
  EXPECT_EQ(question_.timeout, 0.25);
  parameters_ = {{"timeout", int64_t{1500}}};
  ASSERT_TRUE(read(integer_.bundle));
  EXPECT_EQ(question_.timeout, 0.0015);
  parameters_ = {{"timeout", int64_t{0}}};
  ASSERT_TRUE(read(integer_.bundle));
  EXPECT_FALSE(question_.timeout.has_value());
}

TEST_F(TensorsTest, WrongTensorsAreRefused) {
  const std::string names =
      "use item_ids, lengths, offsets, state_in, exclude_ids, exclude_lengths, exclude_offsets, only_ids";
  EXPECT_EQ(refusal(), "input item_ids is missing: give the users' items, an empty list for one who has none");
  ids({}).give("ids", "INT64", {0}, "");
  EXPECT_EQ(refusal(), "input 'ids' is no tensor of this model: " + names);
  ids({}).ids({});
  EXPECT_EQ(refusal(), "input item_ids is given twice: give it once");
  give("item_ids", "FP32", {1}, "1234");
  EXPECT_EQ(refusal(), "item_ids is of type 'FP32': send INT64, or BYTES for ids that are strings");
  give("item_ids", "INT64", {1, 2}, bytes<int64_t>({1, 2}));
  EXPECT_EQ(refusal(), "item_ids has shape [1, 2]: give one dimension, [N], all users' ids one after another");
  give("item_ids", "INT64", {-1}, "");
  EXPECT_EQ(refusal(), "item_ids has shape [-1]: give dimensions of 0 or more");
  give("item_ids", "INT64", {3}, bytes<int64_t>({1, 2}));
  EXPECT_EQ(refusal(), "item_ids has 16 bytes, but shape [3] of INT64 are 3 times 8: send as many as the shape says");
  give("item_ids", "INT64", {INT64_MAX}, "");
  EXPECT_EQ(refusal(),
            "item_ids has 0 bytes, but shape [9223372036854775807] of INT64 are 9223372036854775807 times "
            "8: send as many as the shape says");
  ids({}).give("lengths", "FP32", {0}, "");
  EXPECT_EQ(refusal(), "lengths is of type 'FP32': send INT64");
}

TEST_F(TensorsTest, WrongStringsAreRefused) {
  give("item_ids", "BYTES", {2}, bytes({"10"}));
  EXPECT_EQ(refusal(), "item_ids ends within string 1 of 2: send each behind its length, of 4 bytes, little-endian");
  give("item_ids", "BYTES", {1}, bytes({"10"}).substr(0, 5));
  EXPECT_EQ(refusal(), "item_ids ends within string 0 of 1: send each behind its length, of 4 bytes, little-endian");
  give("item_ids", "BYTES", {1}, std::string("\xff\xff\xff\xff\0", 5));
  EXPECT_EQ(refusal(), "item_ids ends within string 0 of 1: send each behind its length, of 4 bytes, little-endian");
  give("item_ids", "BYTES", {1}, bytes({"10", "20"}));
  EXPECT_EQ(refusal(),
            "item_ids has 6 bytes behind the 1 strings of shape [1]: send as many strings as the shape says");
  give("item_ids", "BYTES", {INT64_MAX}, "");
  EXPECT_EQ(refusal(),
            "item_ids ends within string 0 of 9223372036854775807: send each behind its length, of 4 bytes, "
            "little-endian");
}

TEST_F(TensorsTest, LengthsThatDoNotFitAreRefused) {
  ids({10, 20}).integers("lengths", {1, -1});
  EXPECT_EQ(refusal(), "lengths[1] is -1, but 1 of the 2 item_ids are left: give how many are each user's");
  ids({10, 20}).integers("lengths", {1, INT64_MAX});
  EXPECT_EQ(refusal(),
            "lengths[1] is 9223372036854775807, but 1 of the 2 item_ids are left: give how many are each user's");
  ids({10, 20}).integers("lengths", {1});
  EXPECT_EQ(refusal(), "lengths sum to 1, but there are 2 item_ids: give how many are each user's");
  ids({10}).integers("lengths", {1}).integers("offsets", {0, 1});
  EXPECT_EQ(refusal(), "lengths and offsets are given: give one of them");
  const std::string advice = ": give offsets from 0 to 2, the number of item_ids, that do not fall";
  ids({10, 20}).integers("offsets", {});
  EXPECT_EQ(refusal(), "offsets is empty" + advice);
  ids({10, 20}).integers("offsets", {0});
  EXPECT_EQ(refusal(), "offsets[0] is 0" + advice);
  ids({10, 20}).integers("offsets", {1, 2});
  EXPECT_EQ(refusal(), "offsets[0] is 1" + advice);
  ids({10, 20}).integers("offsets", {0, 2, 1});
  EXPECT_EQ(refusal(), "offsets[2] is 1" + advice);
  ids({10, 20}).integers("offsets", {0, 1});
  EXPECT_EQ(refusal(), "offsets[1] is 1" + advice);
  ids({10, 20}).integers("offsets", {0, 3, 2});
  EXPECT_EQ(refusal(), "offsets[1] is 3" + advice);
}

TEST_F(TensorsTest, StatesAndExclusionsThatDoNotFitAreRefused) {
  ids({10}).give("state_in", "FP32", {2, 16}, std::string(128, '\0'));
  EXPECT_EQ(refusal(),
            "state_in has shape [2, 16], but the states of 1 users of this model are [1, 16]: give state_out of their "
            "last answer");
  ids({10}).give("state_in", "FP32", {1, 16}, std::string(60, '\0'));
  EXPECT_EQ(refusal(),
            "state_in has 60 bytes, but shape [1, 16] of FP32 are 16 times 4: send as many as the shape says");
  ids({10}).give("state_in", "INT64", {1, 16}, std::string(128, '\0'));
  EXPECT_EQ(refusal(), "state_in is of type 'INT64': send FP32");
  ids({10}).integers("exclude_lengths", {0});
  EXPECT_EQ(refusal(), "exclude_lengths is given without exclude_ids: give both or none");
  ids({10, 20}).integers("lengths", {1, 1}).integers("exclude_ids", {30});
  EXPECT_EQ(refusal(), "exclude_ids are of 1 users, item_ids of 2: give exclude_lengths, a number for each user");
}

TEST_F(TensorsTest, WrongOutputsAndParametersAreRefused) {
  ids({10});
  outputs_ = {"item"};
  EXPECT_EQ(refusal(),
            "output 'item' is no tensor of this model: use items, scores, counts, unknown, popular, state_out");
  ids({10});
  outputs_ = {"items", "items"};
  EXPECT_EQ(refusal(), "output items is asked for twice: ask once");
  const auto wrong = [this](const std::string& name, const Parameter& value) {
    ids({10});
    parameters_ = {{name, value}};
    return refusal();
  };
  EXPECT_EQ(wrong("k", 2.0), "k is 2.000000: give a whole number from 1 to 6");
  EXPECT_EQ(wrong("k", true), "k is true: give a whole number from 1 to 6");
  EXPECT_EQ(wrong("k", std::string("2")), "k is '2': give a whole number from 1 to 6");
  EXPECT_EQ(wrong("exclude_seen", int64_t{1}), "exclude_seen is 1: give true or false");
  EXPECT_EQ(wrong("timeout_ms", int64_t{0}), "timeout_ms is 0: give milliseconds above 0");
  EXPECT_EQ(wrong("timeout_ms", std::numeric_limits<double>::infinity()),
            "timeout_ms is inf: give milliseconds above 0");
  EXPECT_EQ(wrong("timeout", int64_t{-1}), "timeout is -1: give microseconds, 0 for the server's");
}

TEST_F(TensorsTest, MetadataTellsTheCatalogue) {
  const Served strings = served(true);
  EXPECT_EQ(input_metadata(integer_.bundle)[0].type, DataType::kInt64);
  EXPECT_EQ(input_metadata(strings.bundle)[0].type, DataType::kBytes);
  EXPECT_EQ(output_metadata(strings.bundle)[0].type, DataType::kBytes);
  EXPECT_EQ(input_metadata(strings.bundle)[3].shape, (Shape{-1, 16}));
}

}  // namespace
}  // namespace recblr::serving
