// Environment variables RECBLR_SERVE_... .
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/options/option.h"

namespace recblr::server {

// Those that are set and not empty.
class Environment {
 public:
  // Throws UsageError where one stands for no option. Those by which Kubernetes tells of a service named
  // recblr-serve are left alone.
  explicit Environment(const std::vector<Option>& list);
  std::string config() const;  // RECBLR_SERVE_CONFIG
  // Values of one that takes several are separated by commas.
  void apply(std::vector<Option>* list) const;

 private:
  std::map<std::string, std::string> values_;  // by the option's name
};

}  // namespace recblr::server
