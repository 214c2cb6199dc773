#include <string>

#include "host_checks.h"
#include "plugin_calls.h"

namespace host {

namespace {

void check_attribute_refusals(const Library& library, Checks& checks) {
  Recorder recorder(library);
  const int32_t two[] = {2, 2};
  const float one = 1.0f;
  const auto expect_refused = [&](const nvinfer1::PluginField& field, const std::string& message) {
    const std::vector<nvinfer1::PluginField> fields{field};
    const nvinfer1::PluginFieldCollection all = collection(fields);
    recorder.clear();
    PluginPointer plugin(library.creator("GatedScan")->createPlugin("a layer", &all, nvinfer1::TensorRTPhase::kBUILD));
    checks.expect(plugin == nullptr && recorder.text() == "recblr::GatedScan \"a layer\": " + message + "\n",
                  "refused: " + message, recorder.text());
  };
  expect_refused(int_field("last_only", two), "attribute last_only is 2; it must be 0 or 1");
  expect_refused({"last_only", two, nvinfer1::PluginFieldType::kINT32, 2}, "attribute last_only must be one int32");
  expect_refused({"last_only", &one, nvinfer1::PluginFieldType::kFLOAT32, 1}, "attribute last_only must be one int32");
}

void check_shape_refusals(const Library& library, Checks& checks) {
  Recorder recorder(library);
  std::mt19937 random(2);
  const std::vector<int32_t> lengths{3, 0, 4};
  const Case scan = gated_scan(random, DataType::kHALF, lengths, 8, false);
  const Case conv = causal_conv1d(random, DataType::kFLOAT, lengths, 8, 4);
  const auto expect_refused = [&](const Case& good, const auto& spoil, const std::string& message) {
    Case bad = good;
    spoil(bad);
    PluginPointer plugin = make_plugin(library, good);
    recorder.clear();
    const bool refused = change_shape(*plugin, bad) != 0;
    const bool said = recorder.text().find(message) != std::string::npos;
    checks.expect(refused && said, "refused: " + message, recorder.text());
  };
  expect_refused(
      scan, [](Case& c) { c.inputs[1].desc.dims.d[1] = 15; },
      "gates is [7, 15]; it must be [N, 2H] with N = 7, B = 3, H = 8");
  expect_refused(scan, [](Case& c) { c.inputs[5].desc.dims.d[0] = 2; }, "h0 is [2, 8]; it must be [B, H]");
  expect_refused(scan, [](Case& c) { c.inputs[0].desc.dims.nbDims = 3; }, "x is [7, 8, 0]; it must be [N, H]");
  expect_refused(scan, [](Case& c) { c.outputs[0].desc.dims.d[0] = 6; }, "y is [6, 8]; it must be [N, H]");
  expect_refused(scan, [](Case& c) { c.inputs[4].desc.type = DataType::kINT64; }, "offsets is int64; it must be int32");
  expect_refused(
      scan, [](Case& c) { c.inputs[2].desc.type = DataType::kBF16; }, "z is bfloat16; it must be float16, as x");
  expect_refused(
      scan, [](Case& c) { c.outputs[1].desc.type = DataType::kHALF; }, "last_h is float16; it must be float32");
  expect_refused(conv, [](Case& c) { c.inputs[4].desc.dims.d[1] = 4; }, "tail is [3, 4, 8]; it must be [B, K-1, H]");
  expect_refused(conv, [](Case& c) { c.inputs[1].desc.dims.d[1] = 0; }, "weight is [8, 0]: too small");
  expect_refused(conv, [](Case& c) { c.inputs.pop_back(); }, "the node has 4 inputs and 2 outputs");
}

}  // namespace

void check_refusals(const Library& library, Checks& checks) {
  check_attribute_refusals(library, checks);
  check_shape_refusals(library, checks);
}

template <typename Logger, typename Finder>
void check_logger(const Library& library, const char* kind, Checks& checks) {
  Recorder<Logger, Finder> recorder(library);
  std::mt19937 random(4);
  Case wrong = gated_scan(random, DataType::kFLOAT, {1}, 4, false);
  wrong.last_only = 7;
  checks.expect(make_plugin(library, wrong) == nullptr && recorder.text().find("last_only is 7") != std::string::npos,
                std::string("messages go to a logger ") + kind, recorder.text());
}

void check_loggers(const Library& library, Checks& checks) {
#if defined(RECBLR_TENSORRT_HEADERS)
  check_logger<nvinfer1::ILogger, nvinfer1::ILoggerFinder>(library, "of NVIDIA's headers", checks);
#else
  check_logger<nvinfer1::ILogger, nvinfer1::ILoggerFinder>(library, "as before TensorRT 11", checks);
  check_logger<nvinfer1::v_1_0::ILogger, nvinfer1::v_1_0::ILoggerFinder>(library, "as of TensorRT 11", checks);
#endif
}

void check_enqueue_without_cuda(const Library& library, Checks& checks) {
  if (*library.function<const char*()>("recblr_cuda_architectures")() != '\0') return;
  Recorder recorder(library);
  std::mt19937 random(3);
  for (const Case& each :
       {gated_scan(random, DataType::kFLOAT, {2}, 4, false), causal_conv1d(random, DataType::kFLOAT, {2}, 4, 4)}) {
    PluginPointer plugin = make_plugin(library, each);
    std::vector<Tensor> found = each.outputs;
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const Tensor& tensor : each.inputs) in.push_back(tensor.bytes.data());
    for (Tensor& tensor : found) out.push_back(tensor.bytes.data());
    recorder.clear();
    const int32_t status = runtime_of(*plugin)->enqueue(
        descriptions(each.inputs).data(), descriptions(each.outputs).data(), in.data(), out.data(), nullptr, nullptr);
    checks.expect(status != 0 && recorder.text().find("built without CUDA") != std::string::npos,
                  each.op + ": enqueue says that the library is without CUDA", recorder.text());
  }
}

}  // namespace host
