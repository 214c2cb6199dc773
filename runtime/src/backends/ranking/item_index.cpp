// Makes an item index.
#include "backends/ranking/item_index.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "abi/arguments.h"
#include "abi/guarded.h"
#include "backends/ranking/rounded.h"
#include "cpu/instruction_set.h"
#include "cpu/parallel.h"
#include "recblr/plugins.h"

namespace recblr {

bool best_index_kernels(IndexKernels* kernels) {
#if defined(RECBLR_X86)
  const InstructionSet most = instruction_set();
  if (most == InstructionSet::kAvx512 && __builtin_cpu_supports("avx512vnni")) {
    *kernels = avx512_vnni::index_kernels();
    return true;
  }
  if (most == InstructionSet::kAvx512 || most == InstructionSet::kAvx2) {
    *kernels = avx2::index_kernels();
    return true;
  }
#endif
  (void)kernels;
  return false;
}

namespace {

// Owns what a recblr_item_index points to.
struct OwnedIndex : recblr_item_index {
  std::unique_ptr<uint8_t, void (*)(void*)> memory{nullptr, std::free};
  std::vector<PanelBounds> panels;
};

void round_panel(const unsigned char* vectors, int64_t count, const recblr_item_index& index, uint8_t* to,
                 PanelBounds* bounds) {
  const int64_t dim = index.dim;
  std::vector<float> values(static_cast<size_t>(count * dim));
  std::memcpy(values.data(), vectors, values.size() * sizeof(float));
  const float scale = scale_of(values.data(), count * dim, index.levels);
  *bounds = {inverse_of(scale), 0.0f, 0.0f};
  std::memset(to, index.offset, static_cast<size_t>(index.quads * kIndexPanel * 4));
  std::vector<int8_t> rounded(static_cast<size_t>(dim));
  for (int64_t item = 0; item < count; ++item) {
    const Rounded of_item = round_vector(values.data() + item * dim, dim, scale, rounded.data());
    bounds->norm = std::max(bounds->norm, of_item.norm);
    bounds->error = std::max(bounds->error, of_item.error);
    for (int64_t d = 0; d < dim; ++d) {
      to[(d / 4 * kIndexPanel + item) * 4 + d % 4] =
          static_cast<uint8_t>(rounded[static_cast<size_t>(d)] + index.offset);
    }
  }
}

std::unique_ptr<OwnedIndex> make_index(const void* embedding, int64_t n_items, int64_t dim, int32_t levels,
                                       int64_t n_threads) {
  const int64_t quads = (dim + 7) / 8 * 2, n_panels = (n_items + kIndexPanel - 1) / kIndexPanel;
  const int64_t panel_bytes = quads * kIndexPanel * 4;
  auto index = std::make_unique<OwnedIndex>();
  const size_t bytes = static_cast<size_t>(std::max<int64_t>(n_panels, 1) * panel_bytes);
  index->memory.reset(static_cast<uint8_t*>(std::aligned_alloc(64, bytes)));
  if (index->memory == nullptr) throw std::bad_alloc();
  index->panels.resize(static_cast<size_t>(n_panels));
  static_cast<recblr_item_index&>(*index) = {
      n_items, dim, quads, levels, levels + 1, index->memory.get(), index->panels.data()};
  const unsigned char* vectors = static_cast<const unsigned char*>(embedding);
  const int64_t stride = dim * static_cast<int64_t>(sizeof(float));
  in_parallel(n_panels, useful_threads(n_threads, n_panels, n_items * dim), [&](int64_t panel, int64_t) {
    const int64_t first = panel * kIndexPanel;
    round_panel(vectors + (first + 1) * stride, std::min(kIndexPanel, n_items - first), *index,
                index->memory.get() + panel * panel_bytes, &index->panels[static_cast<size_t>(panel)]);
  });
  return index;
}

}  // namespace

}  // namespace recblr

extern "C" int recblr_item_index_create(const void* embedding, int64_t n_items, int64_t dim, int32_t n_threads,
                                        recblr_item_index** index) {
  using namespace recblr;
  return guarded("out of memory for an item index: it takes a quarter of the embedding's bytes", [&] {
    if (index == nullptr) refuse("index is NULL");
    *index = nullptr;
    check_embedding(embedding, n_items, dim);
    IndexKernels kernels;
    if (best_index_kernels(&kernels) && dim <= kMostIndexDim) {
      *index = make_index(embedding, n_items, dim, kernels.levels, n_threads).release();
    }
    return RECBLR_OK;
  });
}

extern "C" void recblr_item_index_destroy(recblr_item_index* index) { delete static_cast<recblr::OwnedIndex*>(index); }
