// A catalogue in 8 bits; see ranking/item_index_kernels.h.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/ranking/item_index_kernels.h"
#include "backends/scratch.h"
#include "cpu/parallel.h"

namespace recblr {

// An index of an embedding [n_items + 1, dim], without item 0. A quarter of its memory.
struct ItemIndex {
  int64_t n_items, dim;
  int64_t quads;         // of dimensions, an even number: filled up with zeros
  int32_t levels;        // of q
  int32_t offset;        // of q, stored unsigned
  const uint8_t* items;  // [panels, quads, 16, 4]; the last panel is filled up with zeros
  const PanelBounds* bounds;
  Buffer<uint8_t> item_memory{};  // what the two pointers lead to
  Buffer<PanelBounds> bounds_memory{};
};

// Makes an index for the kernels, in at most `threads` threads, of `embedding`: float32 [n_items + 1, dim] at any
// address, which is not kept. dim is at most kMostIndexDim.
std::unique_ptr<const ItemIndex> make_item_index(const void* embedding, int64_t n_items, int64_t dim,
                                                 const IndexKernels& kernels, int threads, const ThreadPool& pool);

}  // namespace recblr
