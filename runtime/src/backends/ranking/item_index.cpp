// Makes an item index.
#include "backends/ranking/item_index.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/ranking/rounded.h"
#include "cpu/instruction_set.h"

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

void round_panel(const unsigned char* vectors, int64_t count, const ItemIndex& index, uint8_t* to,
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

}  // namespace

std::unique_ptr<const ItemIndex> make_item_index(const void* embedding, int64_t n_items, int64_t dim,
                                                 const IndexKernels& kernels, int threads, const ThreadPool& pool) {
  const int64_t quads = (dim + 7) / 8 * 2, n_panels = (n_items + kIndexPanel - 1) / kIndexPanel;
  const int64_t panel_bytes = quads * kIndexPanel * 4;
  auto index = std::make_unique<ItemIndex>();
  uint8_t* const items = index->item_memory.get(std::max<int64_t>(n_panels, 1) * panel_bytes);
  PanelBounds* const bounds = index->bounds_memory.get(std::max<int64_t>(n_panels, 1));
  index->n_items = n_items;
  index->dim = dim;
  index->quads = quads;
  index->levels = kernels.levels;
  index->offset = kernels.levels + 1;
  index->items = items;
  index->bounds = bounds;
  const unsigned char* vectors = static_cast<const unsigned char*>(embedding);
  const int64_t stride = dim * static_cast<int64_t>(sizeof(float));
  const auto round = [&](int64_t panel, int64_t) {
    const int64_t first = panel * kIndexPanel;
    round_panel(vectors + (first + 1) * stride, std::min(kIndexPanel, n_items - first), *index,
                items + panel * panel_bytes, bounds + panel);
  };
  in_parallel(n_panels, useful_threads(threads, n_panels, n_items * dim), round, pool);
  return index;
}

}  // namespace recblr
