#include "server/options/options.h"

#include <string>
#include <utility>

#include "server/options/config_file.h"
#include "server/options/environment.h"
#include "server/options/flags.h"
#include "server/options/given.h"

namespace recblr::server {

CommandLine parse_options(int argc, const char* const* argv) {
  Given given;
  std::vector<Option> list = options_of(&given);
  try {
    Flags flags(argc, argv, &list);
    if (!flags.help.empty()) return {std::nullopt, flags.help, 0};
    if (flags.version) return {std::nullopt, "recblr, version " + std::string(version()) + "\n", 0};
    const Environment environment(list);
    const std::string config = flags.config.empty() ? environment.config() : flags.config;
    if (!config.empty()) read_config_file(config, &list);
    environment.apply(&list);
    flags.apply();
    Options options = assemble(given, list);
    if (flags.print_config) return {std::nullopt, config_text(list), 0};
    for (const Option& option : list) options.settings.push_back({option.name, option.shown_value(), option.source});
    return {std::move(options), "", 0};
  } catch (const UsageError& error) {
    return {std::nullopt, std::string("Error: ") + error.what() + "\n", 2};
  }
}

}  // namespace recblr::server
