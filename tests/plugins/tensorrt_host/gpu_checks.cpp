#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "host_checks.h"
#include "plugin_calls.h"

namespace host {

namespace {

constexpr size_t kGuard = 256;  // bytes behind every output that must stay as they are
constexpr int kThreads = 4;

void require(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

class Stream {
 public:
  Stream() { require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void wait() const { require(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Buffer {
 public:
  explicit Buffer(size_t size) : size_(size) { require(cudaMalloc(&data_, size + kGuard), "cudaMalloc"); }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* get() const { return data_; }

  void upload(const std::vector<std::byte>& bytes, const Stream& stream) const {
    require(cudaMemcpyAsync(data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, stream.get()), "upload");
    stream.wait();
  }

  // NaN everywhere, and in the guard.
  void spoil(const Stream& stream) const {
    require(cudaMemsetAsync(data_, 0xff, size_ + kGuard, stream.get()), "cudaMemsetAsync");
  }

  // Throws std::runtime_error where the guard was written to.
  std::vector<std::byte> download(const Stream& stream) const {
    std::vector<std::byte> bytes(size_ + kGuard);
    require(cudaMemcpyAsync(bytes.data(), data_, bytes.size(), cudaMemcpyDeviceToHost, stream.get()), "download");
    stream.wait();
    const auto guard = bytes.begin() + static_cast<std::ptrdiff_t>(size_);
    if (std::any_of(guard, bytes.end(), [](std::byte byte) { return byte != std::byte{0xff}; })) {
      throw std::runtime_error("wrote beyond an output's end");
    }
    bytes.resize(size_);
    return bytes;
  }

 private:
  size_t size_;
  void* data_ = nullptr;
};

// One call's plugin and device memory, on a stream.
class Run {
 public:
  Run(const Library& library, const Case& of, const Stream& stream)
      : stream_(stream), made_(make_plugin(library, of)), shapes_(of.outputs) {
    plugin_.reset(runtime_of(*made_)->attachToContext(nullptr));
    for (const Tensor& tensor : of.inputs) {
      in_.push_back(std::make_unique<Buffer>(tensor.bytes.size()));
      in_pointers_.push_back(in_.back()->get());
      in_descriptions_.push_back(tensor.desc);
    }
    for (const Tensor& tensor : of.outputs) {
      out_.push_back(std::make_unique<Buffer>(tensor.bytes.size()));
      out_pointers_.push_back(out_.back()->get());
      out_descriptions_.push_back(tensor.desc);
    }
    if (change_shape(*plugin_, of) != 0) throw std::runtime_error("onShapeChange failed");
  }

  // New values of the same shapes; the outputs are spoiled.
  void load(const Case& of) const {
    for (size_t i = 0; i < in_.size(); ++i) in_[i]->upload(of.inputs[i].bytes, stream_);
    for (const auto& buffer : out_) buffer->spoil(stream_);
  }

  void enqueue() const {
    if (runtime_of(*plugin_)->enqueue(in_descriptions_.data(), out_descriptions_.data(), in_pointers_.data(),
                                      out_pointers_.data(), nullptr, stream_.get()) != 0) {
      throw std::runtime_error("enqueue failed");
    }
  }

  std::vector<Tensor> results() const {
    std::vector<Tensor> found = shapes_;
    for (size_t i = 0; i < out_.size(); ++i) found[i].bytes = out_[i]->download(stream_);
    return found;
  }

 private:
  const Stream& stream_;
  PluginPointer made_, plugin_;
  std::vector<Tensor> shapes_;
  std::vector<std::unique_ptr<Buffer>> in_, out_;
  std::vector<const void*> in_pointers_;
  std::vector<void*> out_pointers_;
  std::vector<nvinfer1::PluginTensorDesc> in_descriptions_, out_descriptions_;
};

// Throws std::runtime_error where a result is not as expected.
void compare(const Case& of, const std::vector<Tensor>& found) {
  for (size_t i = 0; i < found.size(); ++i) {
    const std::string where = difference(of.outputs[i], found[i]);
    if (!where.empty()) throw std::runtime_error("output " + std::to_string(i) + ": " + where);
  }
}

void expect_equal(const std::vector<Tensor>& first, const std::vector<Tensor>& again) {
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i].bytes != again[i].bytes) throw std::runtime_error("the same call gave other bits");
  }
}

// What `enqueue` does, as a graph that can be launched again.
class Graph {
 public:
  Graph(const Run& run, const Stream& stream) : stream_(stream) {
    require(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
    cudaGraph_t graph = nullptr;
    std::exception_ptr failure;
    try {
      run.enqueue();
    } catch (...) {
      failure = std::current_exception();
    }
    const cudaError_t status = cudaStreamEndCapture(stream.get(), &graph);  // ends it after a failure as well
    if (failure != nullptr) std::rethrow_exception(failure);
    require(status, "cudaStreamEndCapture");
    const cudaError_t made = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    require(made, "cudaGraphInstantiate");
  }
  ~Graph() { cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch() const { require(cudaGraphLaunch(executable_, stream_.get()), "cudaGraphLaunch"); }

 private:
  const Stream& stream_;
  cudaGraphExec_t executable_ = nullptr;
};

template <typename Body>
void expect_success(Checks& checks, const std::string& what, const Body& body) {
  std::string problem;
  try {
    body();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  checks.expect(problem.empty(), what, problem);
}

}  // namespace

void require_gpu() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    throw std::runtime_error(std::string("--gpu: there is no GPU here: ") +
                             (status == cudaSuccess ? "none is visible" : cudaGetErrorString(status)));
  }
}

void check_enqueue(const Library& library, Checks& checks) {
  const std::vector<Case> cases = all_cases(1);
  const std::vector<Case> others = all_cases(2, /*backwards=*/true);
  std::vector<std::vector<Tensor>> results(cases.size());
  const Stream stream;
  for (size_t i = 0; i < cases.size(); ++i) {
    expect_success(checks, cases[i].text + ": enqueue", [&] {
      const Run run(library, cases[i], stream);
      run.load(cases[i]);
      run.enqueue();
      results[i] = run.results();
      compare(cases[i], results[i]);
    });
    expect_success(checks, cases[i].text + ": CUDA graph, replayed with other rows and data", [&] {
      const Run run(library, cases[i], stream);
      run.load(cases[i]);
      run.enqueue();
      const Graph graph(run, stream);
      run.load(others[i]);
      graph.launch();
      compare(others[i], run.results());
      run.load(cases[i]);
      graph.launch();
      expect_equal(results[i], run.results());
    });
  }

  std::vector<std::string> problems(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      try {
        const Stream own;
        for (size_t step = 0; step < cases.size(); ++step) {
          const size_t i = (step + static_cast<size_t>(thread) * cases.size() / kThreads) % cases.size();
          const Run run(library, cases[i], own);
          run.load(cases[i]);
          for (int time = 0; time < 3; ++time) run.enqueue();
          expect_equal(results[i], run.results());
        }
      } catch (const std::exception& error) {
        problems[static_cast<size_t>(thread)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int thread = 0; thread < kThreads; ++thread) {
    checks.expect(problems[static_cast<size_t>(thread)].empty(),
                  "thread " + std::to_string(thread + 1) + " of " + std::to_string(kThreads) + ": the same results",
                  problems[static_cast<size_t>(thread)]);
  }
}

}  // namespace host
