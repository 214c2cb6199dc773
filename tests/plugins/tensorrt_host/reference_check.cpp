#include <string>

#include "host_checks.h"
#include "recblr/plugins.h"

namespace host {

void check_reference(const Library& library, const std::vector<Case>& cases, Checks& checks) {
  auto* scan = library.function<int(const recblr_gated_scan*)>("recblr_gated_scan_forward_cpu");
  auto* conv = library.function<int(const recblr_causal_conv1d*)>("recblr_causal_conv1d_forward_cpu");
  std::string different;
  for (const Case& each : cases) {
    std::vector<Tensor> found;
    for (const Tensor& tensor : each.outputs) found.push_back(tensor.unwritten());
    const nvinfer1::Dims& x = each.inputs[0].desc.dims;
    const int32_t type = each.inputs[0].desc.type == DataType::kHALF   ? RECBLR_FLOAT16
                         : each.inputs[0].desc.type == DataType::kBF16 ? RECBLR_BFLOAT16
                                                                       : RECBLR_FLOAT32;
    const auto in = [&](size_t i) { return static_cast<const void*>(each.inputs[i].bytes.data()); };
    const auto floats = [&](size_t i) { return static_cast<const float*>(in(i)); };
    int status;
    if (each.op == "GatedScan") {
      recblr_gated_scan a{};
      a.n_tokens = x.d[0], a.width = x.d[1], a.n_rows = each.inputs[5].desc.dims.d[0];
      a.dtype = type, a.offsets_type = RECBLR_INT32, a.last_only = each.last_only;
      a.x = in(0), a.gates = in(1), a.z = in(2), a.decay = floats(3), a.offsets = in(4), a.h0 = floats(5);
      a.y = found[0].bytes.data(), a.last_h = reinterpret_cast<float*>(found[1].bytes.data());
      status = scan(&a);
    } else {
      recblr_causal_conv1d a{};
      a.n_tokens = x.d[0], a.width = x.d[1], a.n_rows = each.inputs[4].desc.dims.d[0];
      a.taps = each.inputs[1].desc.dims.d[1], a.dtype = type, a.offsets_type = RECBLR_INT32;
      a.x = in(0), a.weight = floats(1), a.bias = floats(2), a.offsets = in(3), a.tail = floats(4);
      a.y = found[0].bytes.data(), a.new_tail = reinterpret_cast<float*>(found[1].bytes.data());
      status = conv(&a);
    }
    for (size_t i = 0; i < found.size() && different.empty(); ++i) {
      const std::string where = status == RECBLR_OK ? difference(each.outputs[i], found[i]) : "it failed";
      if (!where.empty()) different = each.text + ", output " + std::to_string(i) + ": " + where;
    }
  }
  checks.expect(different.empty(), "the reference agrees with the CPU functions", different);
}

}  // namespace host
