// The words of scripts and answers.
#ifndef WORDS_H
#define WORDS_H

#include <string>
#include <string_view>
#include <vector>

#include <holdfast.h>

// A result of the library, without a copy: it lives as long as the turn.
inline std::string_view view(hf_text text) { return {text.data, text.size}; }
inline std::string_view view(hf_bytes bytes) { return {reinterpret_cast<const char *>(bytes.data), bytes.size}; }

// An argument of the library, without a copy.
inline hf_text text(std::string_view text) { return {text.data(), text.size()}; }
inline hf_bytes bytes(std::string_view bytes) { return hf_bytes_of(text(bytes)); }

// Percent-encoded.
std::string encode(std::string_view bytes);
inline std::string encode(hf_text text) { return encode(view(text)); }
inline std::string encode(hf_bytes bytes) { return encode(view(bytes)); }

// A line's words, decoded.
std::vector<std::string> words_of(std::string_view line);
// As C strings. They live as long as the words do.
std::vector<const char *> c_strings(const std::vector<std::string> &words, size_t first, size_t step = 1);
int64_t number(const std::string &word);

// `some <value>` or `none`.
std::string option(hf_bytes value);
// `<key> <value>`.
std::string entry(const hf_entry &entry);
// `error <case>`. SQLite's code and message are those of the last refused operation.
std::string refusal(hf_error error);

// Values of SQL and messages. They refer to the bytes of the word.
hf_value value(const std::string &word);
std::string shown(const hf_value &value);
hf_message message(const std::string &word);

#endif
