// The command line, by CLI11.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/options/option.h"

namespace recblr::server {

class Flags {
 public:
  // Reads the command line. Throws UsageError.
  Flags(int argc, const char* const* argv, std::vector<Option>* list);
  ~Flags();

  std::string config;
  bool print_config = false, version = false;
  std::string help;  // where it was asked for
  // Sets what was given.
  void apply();

 private:
  class Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace recblr::server
