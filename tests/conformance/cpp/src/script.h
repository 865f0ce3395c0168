// Scripts: the operations that the class runs.
#ifndef SCRIPT_H
#define SCRIPT_H

#include <optional>
#include <string>
#include <string_view>

#include <holdfast.h>

// The event of a turn, as far as scripts need it.
struct About {
    std::optional<hf_socket> socket;
    // Of an alarm.
    std::optional<uint32_t> retry_count;
};

// Who waits for the end of a script.
enum class Caller { request, event, upgrade };
// What a script waits for.
enum class Pause { none, until, until_exclusive, told };

// A script that has begun.
struct Script {
    // The lines that are left.
    std::string lines;
    About about;
    Caller caller;
    // What an upgrade accepts: `/<protocol>/<tag>…`.
    std::string path;
    std::string answers{};
    std::optional<hf_deferred> deferred{};
    Pause pause = Pause::none;
    hf_token until = 0;
    std::string topic{};
    // Comes when the client has gone, which is then stored under the key.
    std::optional<hf_token> gone{};
    std::string gone_key{};
};

// Runs a script and answers its caller, now or in a later turn. The answers to a request of this turn go into `answers`.
hf_result begin(Script script, std::string *answers = nullptr);
hf_result resume(const hf_token tokens[], size_t count);

// Runs a command of late work. Returns whether it is one.
bool run_late(std::string_view line, Script &script);
// Runs one command.
hf_result run_command(std::string_view line, const About &about, std::string &answers);
// Runs a script up to its end, or until it waits.
hf_result run(Script &script);
// Accepts the socket of a deferred request.
void accept_later(const Script &script, hf_response *response);

#endif
