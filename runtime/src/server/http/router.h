// Which handler answers which path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http/exchange.h"

namespace recblr::server {

enum class Access { kPublic, kUser, kAdmin };  // whose token is needed, where tokens are set

struct Route {
  Method method;        // kGet answers HEAD, too
  std::string pattern;  // "/v1/users/{id}/events": {..} stands for one segment that is not empty
  Access access;
  Handler handler;
};

class Router {
 public:
  void add(Method method, std::string pattern, Access access, Handler handler);
  // The route, with the percent-decoded segments that stand for {..} in `parameters`; nullptr where nothing has that
  // path; with `allowed` the methods where only the method is wrong.
  const Route* find(Method method, std::string_view raw_path, std::vector<std::string>* parameters,
                    std::string* allowed) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
  std::vector<std::vector<std::string>> segments_;  // of each route's pattern
};

}  // namespace recblr::server
