// /v1/model: what is served, reloads and rollbacks.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "server/v1_fixture.h"

namespace recblr::server {
namespace {

class ModelRoutesTest : public V1Test {};

TEST_F(ModelRoutesTest, TellsWhatIsServed) {
  const Json model = answer(Method::kGet, "/v1/model");
  const ServedModelPtr served = models_->current();
  EXPECT_EQ(model.at("name"), "recblr");
  EXPECT_EQ(model.at("fingerprint"), served->bundle.fingerprint());
  EXPECT_EQ(model.at("version"), 1);
  EXPECT_EQ(model.at("path"), served->resolved_path);
  EXPECT_EQ(model.at("previous"), nullptr);
  EXPECT_EQ(model.at("n_items"), 6);
  EXPECT_EQ(model.at("id_type"), "integer");
  EXPECT_EQ(model.at("state_size"), served->bundle.state_size());
  EXPECT_EQ(model.at("description"), served->engine.description());
  EXPECT_EQ(model.at("loaded").get<std::string>().size(), 20U);
  models_ = std::make_unique<Models>(ModelOptions{});
  add_routes({});
  EXPECT_EQ(refusal(503, Method::kGet, "/v1/model"), "the model is not loaded yet: try again later");
}

TEST_F(ModelRoutesTest, ReloadsAndRollsBack) {
  const Json before = answer(Method::kGet, "/v1/model");
  EXPECT_NE(refusal(409, Method::kPost, "/v1/model/rollback").find("no model before"), std::string::npos);
  EXPECT_EQ(answer(Method::kPost, "/v1/model/reload").at("version"), 2);
  EXPECT_EQ(answer(Method::kGet, "/v1/model").at("previous"), before.at("fingerprint"));
  EXPECT_EQ(answer(Method::kPost, "/v1/model/reload", R"({"path": null})").at("version"), 3);
  const Json back = answer(Method::kPost, "/v1/model/rollback");
  EXPECT_EQ(back.at("fingerprint"), before.at("fingerprint"));
  EXPECT_EQ(back, answer(Method::kGet, "/v1/model"));
}

TEST_F(ModelRoutesTest, WhatCannotBeLoadedChangesNothing) {
  const Json before = answer(Method::kGet, "/v1/model");
  EXPECT_NE(refusal(400, Method::kPost, "/v1/model/reload", R"({"path": "/nowhere"})").find("/nowhere"),
            std::string::npos);
  EXPECT_EQ(refusal(400, Method::kPost, "/v1/model/reload", R"({"path": 1})"), "path is 1: give a string");
  // Its own bundle is the server's fault.
  std::ofstream(folder_.path() + "/manifest.json") << "{";
  EXPECT_NE(refusal(500, Method::kPost, "/v1/model/reload").find("manifest.json"), std::string::npos);
  EXPECT_EQ(answer(Method::kGet, "/v1/model"), before);
}

TEST_F(ModelRoutesTest, APathIsForThoseWhoMayNameOne) {
  V1Options options;
  options.reloads_any_path = false;
  add_routes(options);
  EXPECT_EQ(refusal(403, Method::kPost, "/v1/model/reload", R"({"path": "/nowhere"})"),
            "path may be given only where admins have a token of their own: start the server with --admin-token-file, "
            "or leave path out to load what --engine leads to");
  EXPECT_EQ(answer(Method::kPost, "/v1/model/reload", R"({"path": null})").at("version"), 2);
  EXPECT_EQ(answer(Method::kPost, "/v1/model/reload").at("version"), 3);
}

}  // namespace
}  // namespace recblr::server
