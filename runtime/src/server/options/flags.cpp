#include "server/options/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "server/options/names.h"

namespace recblr::server {
namespace {

constexpr const char* kAbout =
    "Serves a bundle's recommendations over HTTP and gRPC: POST /v1/recommend answers, GET /v2/health/ready tells "
    "when,\n"
    "and GET /docs shows the whole API. SIGTERM or Ctrl-C ends it, once requests under way are answered; SIGHUP loads "
    "the\n"
    "model again.\n";
constexpr const char* kSources =
    "Each option is also an environment variable, as RECBLR_SERVE_HTTP_PORT, and a key of the file of --config, as\n"
    "http-port = 8000. A flag goes before the variable, the variable before the file.";

std::string flag_of(const Option& option) { return "--" + option.name; }

class Formatter : public CLI::Formatter {
 public:
  Formatter() { column_width(32); }
  std::string make_usage(const CLI::App*, std::string) const override {
    return "\nUsage: recblr-serve --engine PATH [OPTIONS]\n";
  }
  std::string make_group(std::string group, bool positional, std::vector<const CLI::Option*> options) const override {
    return CLI::Formatter::make_group(group, positional, options)
        .substr(1);  // groups have an empty line between anyway
  }
};

}  // namespace

class Flags::Parser {
 public:
  Parser(Flags* flags, std::vector<Option>* list) : list_(list) {
    app_.formatter(std::make_shared<Formatter>());
    app_.set_help_flag();
    app_.footer(kSources);
    app_.allow_extras();
    for (const Option& option : *list) flags_.push_back(add(option));
    const auto general = [](CLI::Option* option) { option->group("General")->take_last(); };
    general(app_.add_option("--config", flags->config, "Take options from this file.")->type_name("FILE"));
    general(app_.add_flag("--print-config", flags->print_config, "Print all options as such a file, and end."));
    general(app_.add_flag("--version", flags->version, "Print the version, and end."));
    general(app_.add_flag("--help", help_, "Print this, and end."));
  }

  std::string parse(int argc, const char* const* argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ArgumentMismatch& error) {  // "--http-port: 1 required PORT missing"
      const std::string message = error.what();
      const std::string flag = message.substr(0, message.find_first_of(",: "));
      const Option* option = flag.size() < 2 ? nullptr : find_option(flag.substr(2), list_);
      throw UsageError(flag + " needs a value: give " + (option == nullptr ? "a path" : option->expects));
    } catch (const CLI::ParseError& error) {
      throw UsageError(error.what());
    }
    if (help_) return app_.help();
    check_extras();
    return "";
  }

  void apply() {
    for (size_t i = 0; i < flags_.size(); ++i) {
      if (flags_[i]->count() == 0) continue;
      Option& option = (*list_)[i];
      option.set(flags_[i]->results(), flag_of(option));
    }
  }

 private:
  CLI::Option* add(const Option& option) {
    CLI::Option* flag = nullptr;
    std::string help = option.help;
    if (option.kind == Kind::kSwitch) {
      flag = app_.add_flag(flag_of(option));
    } else {
      flag = app_.add_option(flag_of(option) + (option.alias.empty() ? "" : ",--" + option.alias));
      flag->type_name(option.placeholder);
      if (option.many()) flag->expected(1)->take_all();
      if (option.name != "engine") help += "  [" + option.shown_value() + "]";
    }
    if (!option.many()) flag->take_last();
    return flag->group(option.group)->description(help);
  }

  void check_extras() const {
    for (const std::string& extra : app_.remaining()) {
      if (extra.rfind("--", 0) != 0) {
        throw UsageError(quote(extra) + " is no option: give the bundle as --engine PATH; see recblr-serve --help");
      }
      const std::string name = extra.substr(2, extra.find('=') == std::string::npos ? extra.npos : extra.find('=') - 2);
      const std::string near = nearest_name(name, *list_);
      throw UsageError("there is no option " + quote("--" + name) + ": " +
                       (near.empty() ? "" : "did you mean --" + near + "? ") + "see recblr-serve --help");
    }
  }

  CLI::App app_{kAbout, "recblr-serve"};
  std::vector<Option>* list_;
  std::vector<CLI::Option*> flags_;
  bool help_ = false;
};

Flags::Flags(int argc, const char* const* argv, std::vector<Option>* list)
    : parser_(std::make_unique<Parser>(this, list)) {
  help = parser_->parse(argc, argv);
}

Flags::~Flags() = default;

void Flags::apply() { parser_->apply(); }

}  // namespace recblr::server
