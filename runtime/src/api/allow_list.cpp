#include "engine/allow_list.h"

#include <string>
#include <vector>

#include "api/arguments.h"
#include "api/guard.h"
#include "api/handles.h"

using recblr::api::guarded;
using recblr::api::guarded_or;
using recblr::api::not_null;

extern "C" {

recblr_status recblr_allow_list_create(const recblr_ids* ids, recblr_allow_list** list) {
  return guarded([=] {
    *not_null(list, "list") = nullptr;
    std::vector<recblr::Strangers> strangers;
    const recblr::Ids checked = recblr::api::checked_ids(*not_null(ids, "ids"), "ids", &strangers);
    if (checked.n_rows != 1) {
      refuse(recblr::Code::kInvalidArgument, "ids has " + std::to_string(checked.n_rows) + " rows: give one");
    }
    *list = new recblr_allow_list{recblr::AllowList(checked)};
  });
}

void recblr_allow_list_free(recblr_allow_list* list) { delete list; }

int64_t recblr_allow_list_size(const recblr_allow_list* list) {
  return guarded_or<int64_t>(0, [=] { return not_null(list, "list")->list.size(); });
}
}
