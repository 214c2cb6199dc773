// Recommendations in a C++ process, from a bundle's TensorRT engine, without Python: a user's history, then a new item.
//
//   recblr-export model.pt -o bundle/ --target tensorrt
//   TENSORRT="-I$TENSORRT_ROOT/include -L$TENSORRT_ROOT/lib -lnvinfer"
//   CUDA="-I$CUDA_HOME/include -L$CUDA_HOME/lib64 -lcudart"
//   g++ -std=c++17 examples/tensorrt_engine.cpp -o tensorrt_engine $TENSORRT $CUDA
//   ./tensorrt_engine bundle 50 172 181
//
// Items are indices from 1: item j is "ids"[j - 1] of items.json. docs/tensorrt.md explains the tensors.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity <= Severity::kWARNING) std::fprintf(stderr, "TensorRT: %s\n", message);
  }
};

void check(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what);
}

void check(cudaError_t error) { check(error == cudaSuccess, cudaGetErrorString(error)); }

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  check(file && !content.empty(), "cannot read " + path);
  return content;
}

// The state of a user of whom nothing is known: a NumPy file, whose numbers are all that its last bytes hold.
std::vector<float> read_initial_state(const std::string& path, size_t size) {
  const std::string content = read_file(path);
  check(content.size() > size * sizeof(float), path + " is too short");
  std::vector<float> state(size);
  content.copy(reinterpret_cast<char*>(state.data()), size * sizeof(float), content.size() - size * sizeof(float));
  return state;
}

// Memory of the GPU for one tensor. TensorRT wants an address even where there are no numbers.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t size) { check(cudaMalloc(&data_, (size > 0 ? size : 1) * sizeof(T))); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(data_); }

  void* data() const { return data_; }

  void swap(Buffer& other) { std::swap(data_, other.data_); }

  void upload(const std::vector<T>& values, cudaStream_t stream) {
    check(cudaMemcpyAsync(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice, stream));
  }

  void download(std::vector<T>& values, cudaStream_t stream) const {
    check(cudaMemcpyAsync(values.data(), data_, values.size() * sizeof(T), cudaMemcpyDeviceToHost, stream));
  }

 private:
  void* data_ = nullptr;
};

std::unique_ptr<nvinfer1::ICudaEngine> open_engine(nvinfer1::IRuntime& runtime, const std::string& bundle) {
  // Before the engine is opened: it consists of these plugins in part.
  check(getPluginRegistry()->loadLibrary((bundle + "/librecblr_plugins.so").c_str()) != nullptr,
        "TensorRT refuses the plugin library, or one of its plugins is registered already");
  const std::string plan = read_file(bundle + "/model.plan");
  std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime.deserializeCudaEngine(plan.data(), plan.size()));
  check(engine != nullptr, "TensorRT cannot open the engine: was it built by this version, for this GPU?");
  return engine;
}

struct Ranking {
  std::vector<int32_t> items;  // best first
  std::vector<float> scores;   // -inf where no items are left to rank
};

// One user, whose state stays on the GPU. For B users the tensors have B rows, and offsets B + 1 entries.
class User {
 public:
  User(nvinfer1::ICudaEngine& engine, const std::vector<float>& initial_state, cudaStream_t stream)
      : context_(engine.createExecutionContext()),
        stream_(stream),
        state_size_(engine.getTensorShape("state_in").d[1]),
        k_(engine.getTensorShape("top_items").d[1]),
        items_(largest(engine, "items").d[0]),
        offsets_(2),
        exclude_(2 * largest(engine, "exclude").d[0]),
        state_(state_size_),
        new_state_(state_size_),
        top_items_(k_),
        top_scores_(k_) {
    check(context_ != nullptr, "not enough GPU memory for the engine");
    state_.upload(initial_state, stream_);
  }

  // Feeds new items, which may be none, to the state, and ranks all items but the excluded ones.
  Ranking step(const std::vector<int32_t>& items, const std::vector<int32_t>& excluded) {
    const auto n = static_cast<int32_t>(items.size());
    const std::vector<int32_t> offsets{0, n};  // row b has items[offsets[b]] to items[offsets[b + 1] - 1]
    std::vector<int32_t> pairs;                // of row and item
    for (const int32_t item : excluded) pairs.insert(pairs.end(), {0, item});

    bind_input("items", items_.data(), {1, {n}});
    bind_input("offsets", offsets_.data(), {1, {2}});
    bind_input("state_in", state_.data(), {2, {1, state_size_}});
    bind_input("exclude", exclude_.data(), {2, {static_cast<int64_t>(excluded.size()), 2}});
    bind("top_items", top_items_.data());
    bind("top_scores", top_scores_.data());
    bind("state_out", new_state_.data());

    Ranking ranking{std::vector<int32_t>(k_), std::vector<float>(k_)};
    items_.upload(items, stream_);
    offsets_.upload(offsets, stream_);
    exclude_.upload(pairs, stream_);
    check(context_->enqueueV3(stream_), "TensorRT could not run the engine");
    top_items_.download(ranking.items, stream_);
    top_scores_.download(ranking.scores, stream_);
    check(cudaStreamSynchronize(stream_));
    state_.swap(new_state_);
    return ranking;
  }

 private:
  static nvinfer1::Dims largest(const nvinfer1::ICudaEngine& engine, const char* input) {
    return engine.getProfileShape(input, 0, nvinfer1::OptProfileSelector::kMAX);
  }

  void bind(const char* name, void* data) {
    check(context_->setTensorAddress(name, data), std::string("TensorRT takes no address for ") + name);
  }

  void bind_input(const char* name, void* data, const nvinfer1::Dims& shape) {
    check(context_->setInputShape(name, shape), std::string("more than the engine's profile allows: ") + name);
    bind(name, data);
  }

  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  cudaStream_t stream_;
  int64_t state_size_, k_;
  Buffer<int32_t> items_, offsets_, exclude_;
  Buffer<float> state_, new_state_;
  Buffer<int32_t> top_items_;
  Buffer<float> top_scores_;
};

void print(const Ranking& ranking) {
  for (size_t place = 0; place < ranking.items.size() && place < 10; ++place) {
    std::printf("%d\t%.4f\n", ranking.items[place], ranking.scores[place]);
  }
}

void recommend(const std::string& bundle, std::vector<int32_t> history) {
  Logger logger;
  std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
  check(runtime != nullptr, "TensorRT does not start");
  const auto engine = open_engine(*runtime, bundle);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream));
  const auto state_size = static_cast<size_t>(engine->getTensorShape("state_in").d[1]);
  User user(*engine, read_initial_state(bundle + "/initial_state.npy", state_size), stream);

  const Ranking ranking = user.step(history, history);
  print(ranking);

  const int32_t next = ranking.items.front();
  std::printf("and after %d:\n", next);
  history.push_back(next);
  print(user.step({next}, history));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s BUNDLE [ITEM ...]\n", argv[0]);
    return 2;
  }
  std::vector<int32_t> history;
  for (int place = 2; place < argc; ++place) history.push_back(std::atoi(argv[place]));
  try {
    recommend(argv[1], std::move(history));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "Error: %s\n", error.what());
    return 1;
  }
  return 0;
}
