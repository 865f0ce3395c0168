// Scripts: what the class is asked to do.
#ifndef SCRIPT_H
#define SCRIPT_H

#include <optional>
#include <string>
#include <string_view>

#include <holdfast.h>

// What a turn is about, as far as scripts ask.
struct About {
    std::optional<hf_socket> socket;
    // Of an alarm.
    std::optional<uint32_t> retry_count;
};

// Adds the answers of a script to `answers`.
hf_result run(std::string_view script, const About &about, std::string &answers);

#endif
