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

// Adds the answers of a script to `answers`.
hf_result run(std::string_view script, const About &about, std::string &answers);

#endif
