// The model as the Open Inference Protocol sees it: what its tensors are, a request made of them, an answer made into
// them. recblr-serve's HTTP and gRPC and Triton's backend share it, so that they agree in every answer and message.
//
// Inputs, B users:
//   item_ids         INT64 or BYTES [N]  all users' items, user after user; histories, or what is new since state_in
//   lengths          INT64 [B]           items of each user; or
//   offsets          INT64 [B+1]         where each user's items begin, from 0 to N; neither: all are one user's
//   state_in         FP32 [B, S]         optional
//   exclude_ids      INT64 or BYTES [M]  optional: items to leave out, with
//   exclude_lengths  INT64 [B], or
//   exclude_offsets  INT64 [B+1]         as for items
//   only_ids         INT64 or BYTES [L]  optional: the items to choose from, for all users
// INT32 is taken where INT64 is.
// Parameters: k (1 to V), exclude_seen (true), timeout_ms, or timeout in microseconds, as Triton's clients send it;
// model, the fingerprint of the one that made state_in, which a state of another is refused by. Outputs, those that
// were asked for in that order, or all but state_out:
//   items            INT64 or BYTES [B, K]  K: the longest ranking; shorter ones are filled up with 0 or ""
//   scores           FP32 [B, K]            filled up with the lowest finite number, since JSON has no infinity
//   counts           INT64 [B]              how many of a row are results
//   unknown          INT64 [B]              ids of the user's that the model does not know
//   popular          BOOL [B]               nothing is known of the user: the most popular items
//   state_out        FP32 [B, S]            only where it was asked for
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "recblr/recblr.hpp"
#include "serving/question.h"

namespace recblr::serving {

enum class DataType { kBool, kInt32, kInt64, kFp32, kBytes };
// "INT64"; as the protocol writes it.
const char* name_of(DataType type);
// Bytes of one number; 0 for kBytes.
int64_t size_of(DataType type);

// One input, a view of the transport's memory: little-endian numbers, or, for kBytes, strings each behind a 4-byte
// little-endian length.
struct Tensor {
  std::string_view name;
  std::string_view datatype;  // as it came, such as "INT64"
  std::vector<int64_t> shape;
  std::string_view content;
};

using Parameter = std::variant<bool, int64_t, double, std::string>;
using Parameters = std::map<std::string, Parameter, std::less<>>;

// The parameter of requests and answers that names the model by its fingerprint.
inline constexpr char kModelParameter[] = "model";
// Names of parameters that mean something.
inline constexpr std::array<std::string_view, 5> kParameterNames = {"k", "exclude_seen", "timeout_ms", "timeout",
                                                                    kModelParameter};
// Refuses a name that is none of those above nor one of what the protocol, Triton's clients and their like send for
// servers to make of it what they can. Triton's backend does without: there requests have the headers' names, too.
Expected<void> check_parameter_name(std::string_view name);

// Fills `question` (cleared before). Parameters of other names than those above are left alone. Fails with
// kInvalidArgument and a message that names the tensor, the value and what to do: an unknown, doubled or missing
// tensor, a wrong type, shape or size, lengths that do not fit. `outputs` are the names asked for, none for all but
// state_out.
Expected<void> read_question(const std::vector<Tensor>& tensors, const Parameters& parameters,
                             const std::vector<std::string_view>& outputs, const Bundle& bundle, Question* question);

struct OutputTensor {
  std::string_view name;  // static
  DataType type;
  std::vector<int64_t> shape;
  std::string content;  // as in Tensor
};

// The tensors of an answered question: those of `outputs`, in their order, or all but state_out. Throws Error.
std::vector<OutputTensor> answer_tensors(const Question& question, const std::vector<std::string_view>& outputs,
                                         const Bundle& bundle);

// What metadata says of a tensor; -1 for a dimension of any size.
struct TensorMetadata {
  std::string_view name;
  DataType type;  // of item_ids, exclude_ids, only_ids and items: the catalogue's
  std::vector<int64_t> shape;
  bool optional;
};
std::vector<TensorMetadata> input_metadata(const Bundle& bundle);
std::vector<TensorMetadata> output_metadata(const Bundle& bundle);

}  // namespace recblr::serving
