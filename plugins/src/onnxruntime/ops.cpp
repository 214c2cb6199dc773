// ONNX Runtime's side of the library: recblr::GatedScan and recblr::CausalConv1d as custom operators, on the CPU and,
// in a build with CUDA, on the GPU. Only the C API is used, of a version that every supported ONNX Runtime has, through
// the table that it hands over: the library does not link to it.
#include "sequence/ops.h"

#include <onnxruntime_c_api.h>

#include <array>
#include <cstdint>
#include <deque>
#include <exception>
#include <initializer_list>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "recblr/plugins.h"

namespace {

// Of ONNX Runtime 1.17, which brought KernelContext_ParallelFor.
constexpr uint32_t kApiVersion = 17;
static_assert(kApiVersion <= ORT_API_VERSION, "headers of ONNX Runtime 1.17 or newer are needed");

constexpr const char* kDomain = "recblr";
constexpr const char* kCudaProvider = "CUDAExecutionProvider";
constexpr size_t kMaxRank = 3;

struct Types {
  int32_t dtype, offsets_type;
};

ONNXTensorElementDataType element_type(int32_t dtype) {
  switch (dtype) {
    case RECBLR_FLOAT16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case RECBLR_BFLOAT16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    default:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
}

// An error on its way to the function that ONNX Runtime called; owns the status, if there is one.
struct Failure {
  OrtStatus* status;
};

// Runs body() and returns the OrtStatus* that it returns, or makes one of what it throws: nothing is thrown into ONNX
// Runtime.
template <typename Body>
OrtStatus* guarded(const OrtApi& api, const Body& body) noexcept {
  try {
    return body();
  } catch (const Failure& failure) {
    return failure.status;
  } catch (const std::exception&) {
    return api.CreateStatus(ORT_FAIL, "out of memory");
  }
}

// The arguments and results of one call.
class Call {
 public:
  Call(const OrtApi& api, OrtKernelContext* context) : api_(api), context_(context) {}

  void check(OrtStatus* status) const {
    if (status != nullptr) throw Failure{status};
  }

  [[noreturn]] void fail(OrtErrorCode code, const std::string& message) const {
    throw Failure{api_.CreateStatus(code, message.c_str())};
  }

  // The data of an input, whose shape must be as given; -1 takes any size, and is set to it.
  const void* input(size_t index, const char* name, std::initializer_list<int64_t*> sizes) const {
    const OrtValue* value = nullptr;
    check(api_.KernelContext_GetInput(context_, index, &value));
    std::array<int64_t, kMaxRank> shape{};
    const size_t rank = shape_of(value, shape);
    bool fits = rank == sizes.size();
    size_t axis = 0;
    for (int64_t* size : sizes) {
      if (!fits) break;
      if (*size < 0) *size = shape[axis];
      fits = *size == shape[axis++];
    }
    if (!fits) wrong_shape(name, rank, shape, sizes);
    void* data = nullptr;
    check(api_.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    return data;
  }

  void* output(size_t index, std::initializer_list<int64_t> shape) const {
    OrtValue* value = nullptr;
    check(api_.KernelContext_GetOutput(context_, index, shape.begin(), shape.size(), &value));
    void* data = nullptr;
    check(api_.GetTensorMutableData(value, &data));
    return data;
  }

  // The session's threads, for as long as the call lasts.
  recblr::ThreadPool threads() const { return {run_in_session_threads, this}; }

  void* cuda_stream() const {
    void* stream = nullptr;
    check(api_.KernelContext_GetGPUComputeStream(context_, &stream));
    return stream;
  }

 private:
  size_t shape_of(const OrtValue* value, std::array<int64_t, kMaxRank>& shape) const {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    check(api_.GetTensorTypeAndShape(value, &info));
    size_t rank = 0;
    OrtStatus* status = api_.GetDimensionsCount(info, &rank);
    if (status == nullptr && rank <= kMaxRank) status = api_.GetDimensions(info, shape.data(), rank);
    api_.ReleaseTensorTypeAndShapeInfo(info);
    check(status);
    return rank;
  }

  [[noreturn]] void wrong_shape(const char* name, size_t rank, const std::array<int64_t, kMaxRank>& shape,
                                std::initializer_list<int64_t*> sizes) const {
    std::string found, expected;
    for (size_t axis = 0; axis < rank && axis < kMaxRank; ++axis) {
      found += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
    }
    for (const int64_t* size : sizes) {
      expected += (expected.empty() ? "" : ", ") + (*size < 0 ? std::string("any") : std::to_string(*size));
    }
    if (rank > kMaxRank) found += ", ...";
    fail(ORT_INVALID_ARGUMENT, std::string(name) + " has shape [" + found + "]: it must be [" + expected + "]");
  }

  static void run_in_session_threads(const void* pool, size_t n, void (*task)(void* data, size_t index), void* data) {
    const Call& call = *static_cast<const Call*>(pool);
    OrtStatus* status = call.api_.KernelContext_ParallelFor(call.context_, task, n, 0, data);
    if (status == nullptr) return;
    call.api_.ReleaseStatus(status);  // no pool to be had: this thread does it
    task(data, 0);
  }

  const OrtApi& api_;
  OrtKernelContext* context_;
};

int32_t most_tasks() {
  static const unsigned machine = std::thread::hardware_concurrency();
  return machine > 1 ? static_cast<int32_t>(machine) : 1;
}

// Each operator says what it is called, how many inputs it has, and of which types.
enum class Kind { kData, kFloat, kOffsets };

struct GatedScan {
  static constexpr const char* kName = "GatedScan";
  static constexpr std::array<Kind, 6> kInputs{Kind::kData,  Kind::kData,    Kind::kData,
                                               Kind::kFloat, Kind::kOffsets, Kind::kFloat};
  static constexpr std::array<size_t, 2> kOutputsLike{2, 5};  // y is like z, last_h like h0

  GatedScan(const OrtApi& api, const OrtKernelInfo* info) {
    int64_t value = 0;
    if (OrtStatus* status = api.KernelInfoGetAttribute_int64(info, "last_only", &value)) {
      api.ReleaseStatus(status);  // the attribute is absent
    }
    last_only = value != 0;
  }

  int compute(const Call& call, Types types, bool on_gpu) const {
    recblr_gated_scan a{};
    a.dtype = types.dtype;
    a.offsets_type = types.offsets_type;
    a.last_only = last_only;
    a.n_threads = most_tasks();
    int64_t tokens = -1, width = -1, n_offsets = -1;
    a.x = call.input(0, "x", {&tokens, &width});
    int64_t gates_width = 2 * width;
    a.gates = call.input(1, "gates", {&tokens, &gates_width});
    a.offsets = call.input(4, "offsets", {&n_offsets});
    if (n_offsets < 1)
      call.fail(ORT_INVALID_ARGUMENT, "offsets is empty: it must have one entry more than there are rows");
    int64_t rows = n_offsets - 1;
    int64_t outputs = last_only ? rows : tokens;
    a.z = call.input(2, "z", {&outputs, &width});
    a.decay = static_cast<const float*>(call.input(3, "decay", {&width}));
    a.h0 = static_cast<const float*>(call.input(5, "h0", {&rows, &width}));
    a.y = call.output(0, {outputs, width});
    a.last_h = static_cast<float*>(call.output(1, {rows, width}));
    a.n_tokens = tokens;
    a.n_rows = rows;
    a.width = width;
    if (on_gpu) return recblr_gated_scan_forward_cuda(&a, call.cuda_stream());
    return recblr::gated_scan_forward(a, call.threads());
  }

  bool last_only;
};

struct CausalConv1d {
  static constexpr const char* kName = "CausalConv1d";
  static constexpr std::array<Kind, 5> kInputs{Kind::kData, Kind::kFloat, Kind::kFloat, Kind::kOffsets, Kind::kFloat};
  static constexpr std::array<size_t, 2> kOutputsLike{0, 4};  // y is like x, new_tail like tail

  CausalConv1d(const OrtApi&, const OrtKernelInfo*) {}

  int compute(const Call& call, Types types, bool on_gpu) const {
    recblr_causal_conv1d a{};
    a.dtype = types.dtype;
    a.offsets_type = types.offsets_type;
    a.n_threads = most_tasks();
    int64_t tokens = -1, width = -1, taps = -1, n_offsets = -1;
    a.x = call.input(0, "x", {&tokens, &width});
    a.weight = static_cast<const float*>(call.input(1, "weight", {&width, &taps}));
    if (taps < 1) call.fail(ORT_INVALID_ARGUMENT, "weight has no taps: it must have at least 1");
    a.bias = static_cast<const float*>(call.input(2, "bias", {&width}));
    a.offsets = call.input(3, "offsets", {&n_offsets});
    if (n_offsets < 1)
      call.fail(ORT_INVALID_ARGUMENT, "offsets is empty: it must have one entry more than there are rows");
    int64_t rows = n_offsets - 1, past = taps - 1;
    a.tail = static_cast<const float*>(call.input(4, "tail", {&rows, &past, &width}));
    a.y = call.output(0, {tokens, width});
    a.new_tail = static_cast<float*>(call.output(1, {rows, past, width}));
    a.n_tokens = tokens;
    a.n_rows = rows;
    a.width = width;
    a.taps = taps;
    if (on_gpu) return recblr_causal_conv1d_forward_cuda(&a, call.cuda_stream());
    return recblr::causal_conv1d_forward(a, call.threads());
  }
};

// One operator, for one choice of types and one execution provider, as ONNX Runtime asks for it.
template <typename Operator>
struct CustomOp : OrtCustomOp {
  CustomOp(Types types_, bool on_gpu_) : OrtCustomOp{}, types(types_), on_gpu(on_gpu_) {
    version = kApiVersion;
    GetName = [](const OrtCustomOp*) { return Operator::kName; };
    GetExecutionProviderType = [](const OrtCustomOp* op) -> const char* {
      return self(op).on_gpu ? kCudaProvider : nullptr;
    };
    GetInputTypeCount = [](const OrtCustomOp*) { return Operator::kInputs.size(); };
    GetInputType = [](const OrtCustomOp* op, size_t index) { return self(op).input_type(index); };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    GetOutputTypeCount = [](const OrtCustomOp*) { return Operator::kOutputsLike.size(); };
    GetOutputType = [](const OrtCustomOp* op, size_t index) {
      return self(op).input_type(Operator::kOutputsLike[index]);
    };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return INT32_MAX; };
    CreateKernelV2 = create;
    KernelComputeV2 = compute;
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  }

  const Types types;
  const bool on_gpu;

 private:
  struct Kernel {
    const OrtApi& api;
    const CustomOp& op;
    Operator body;
  };

  static const CustomOp& self(const OrtCustomOp* op) { return *static_cast<const CustomOp*>(op); }

  ONNXTensorElementDataType input_type(size_t index) const {
    switch (Operator::kInputs[index]) {
      case Kind::kOffsets:
        return types.offsets_type == RECBLR_INT32 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32
                                                  : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
      case Kind::kData:
        return element_type(types.dtype);
      default:
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
  }

  static OrtStatusPtr ORT_API_CALL create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info,
                                          void** kernel) {
    return guarded(*api, [&]() -> OrtStatus* {
      *kernel = new Kernel{*api, self(op), Operator(*api, info)};
      return nullptr;
    });
  }

  static OrtStatusPtr ORT_API_CALL compute(void* op_kernel, OrtKernelContext* context) {
    const Kernel& kernel = *static_cast<const Kernel*>(op_kernel);
    return guarded(kernel.api, [&]() -> OrtStatus* {
      const int status = kernel.body.compute(Call(kernel.api, context), kernel.op.types, kernel.op.on_gpu);
      if (status == RECBLR_OK) return nullptr;
      const OrtErrorCode code = status == RECBLR_INVALID_ARGUMENT ? ORT_INVALID_ARGUMENT
                                : status == RECBLR_UNSUPPORTED    ? ORT_NOT_IMPLEMENTED
                                                                  : ORT_FAIL;
      return kernel.api.CreateStatus(code, recblr_plugins_last_error());
    });
  }
};

// One of each type of data and of offsets.
template <typename Operator>
struct Family {
  explicit Family(bool on_gpu) {
    for (const int32_t dtype : {RECBLR_FLOAT32, RECBLR_FLOAT16, RECBLR_BFLOAT16}) {
      for (const int32_t offsets_type : {RECBLR_INT32, RECBLR_INT64})
        ops.emplace_back(Types{dtype, offsets_type}, on_gpu);
    }
  }

  OrtStatus* add_to(const OrtApi& api, OrtCustomOpDomain* domain) const {
    for (const CustomOp<Operator>& op : ops) {
      if (OrtStatus* status = api.CustomOpDomain_Add(domain, &op)) return status;
    }
    return nullptr;
  }

  std::deque<CustomOp<Operator>> ops;  // which stay where they are
};

OrtStatus* make_domain(const OrtApi& api, OrtCustomOpDomain** domain) {
  static const Family<GatedScan> scan{false}, scan_on_gpu{true};
  static const Family<CausalConv1d> conv{false}, conv_on_gpu{true};
  if (OrtStatus* status = api.CreateCustomOpDomain(kDomain, domain)) return status;
  OrtStatus* status = scan.add_to(api, *domain);
  if (status == nullptr) status = conv.add_to(api, *domain);
  const bool has_cuda = recblr_cuda_architectures()[0] != '\0';
  if (status == nullptr && has_cuda) status = scan_on_gpu.add_to(api, *domain);
  if (status == nullptr && has_cuda) status = conv_on_gpu.add_to(api, *domain);
  if (status != nullptr) api.ReleaseCustomOpDomain(*domain);
  return status;
}

// The domain of an ONNX Runtime of this process. Sessions may use it until the process ends, so it is never released.
OrtStatus* domain_of(const OrtApi& api, OrtCustomOpDomain** domain) {
  static std::mutex mutex;
  static std::map<const OrtApi*, OrtCustomOpDomain*> domains;
  const std::lock_guard<std::mutex> lock(mutex);
  OrtCustomOpDomain*& known = domains[&api];
  if (known == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = make_domain(api, &made)) return status;
    known = made;
  }
  *domain = known;
  return nullptr;
}

}  // namespace

// What ONNX Runtime looks for in a library of custom operators.
extern "C" RECBLR_API OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(kApiVersion);
  if (api == nullptr) {
    // Every version has the first, and with it a way to say what is wrong.
    const std::string message = std::string("ONNX Runtime ") + base->GetVersionString() + " is too old: upgrade it";
    return base->GetApi(1)->CreateStatus(ORT_NOT_IMPLEMENTED, message.c_str());
  }
  return guarded(*api, [&]() -> OrtStatus* {
    OrtCustomOpDomain* domain = nullptr;
    if (OrtStatus* status = domain_of(*api, &domain)) return status;
    return api->AddCustomOpDomain(options, domain);
  });
}
