// What is behind the handles of recblr.h.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "engine/allow_list.h"
#include "engine/engine.h"
#include "recblr/recblr.h"

struct recblr_bundle {
  std::shared_ptr<const recblr::Bundle> bundle;
};

struct recblr_engine {
  std::shared_ptr<recblr::Engine> engine;
  std::string description;
};

struct recblr_allow_list {
  recblr::AllowList list;
};

struct recblr_result {
  std::atomic<bool> is_busy{false};              // a request is being answered in it
  bool is_answered = false;                      // what follows is an answer
  std::shared_ptr<const recblr::Bundle> bundle;  // that the strings belong to
  recblr::Work work;
  std::vector<int64_t> integers;     // [B, k] ids of an integer vocabulary
  std::vector<const char*> strings;  // [B, k] of a string vocabulary
  std::vector<int64_t> lengths;      // [B, k] of the strings
  // Of the request that is read.
  std::vector<recblr::Strangers> item_strangers, exclude_strangers, only_strangers;
  std::vector<const recblr::AllowList*> lists;
  // Of a request that was submitted.
  recblr_done done = nullptr;
  void* context = nullptr;
};
