// Percent-encoding, and the values of SQL as words.
#include "words.h"

#include <charconv>
#include <cstring>

std::string encode(std::string_view bytes) {
    static constexpr char DIGITS[] = "0123456789ABCDEF";
    static constexpr std::string_view PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    std::string encoded;
    encoded.reserve(bytes.size());
    for (unsigned char byte : bytes) {
        if (PLAIN.find(static_cast<char>(byte)) != PLAIN.npos) encoded += static_cast<char>(byte);
        else encoded.append({'%', DIGITS[byte >> 4], DIGITS[byte & 15]});
    }
    return encoded;
}

std::vector<std::string> words_of(std::string_view line) {
    std::vector<std::string> words;
    for (size_t start = 0; start <= line.size();) {
        size_t end = std::min(line.find(' ', start), line.size());
        words.emplace_back(view(hf_decode(text(line.substr(start, end - start)))));
        start = end + 1;
    }
    return words;
}

std::vector<const char *> c_strings(const std::vector<std::string> &words, size_t first, size_t step) {
    std::vector<const char *> texts;
    for (size_t i = first; i < words.size(); i += step) texts.push_back(words[i].c_str());
    return texts;
}

int64_t number(const std::string &word) {
    int64_t number = 0;
    std::from_chars(word.data(), word.data() + word.size(), number);
    return number;
}

std::string option(hf_bytes value) { return value.data ? "some " + encode(value) : "none"; }

std::string entry(const hf_entry &entry) { return encode(entry.key) + ' ' + encode(entry.value); }

std::string refusal(hf_error error) {
    std::string answer = std::string("error ") + hf_error_name(error);
    if (error != HF_CONSTRAINT && error != HF_SQLITE) return answer;
    const hf_refusal refusal = hf_last_error();
    return answer + ' ' + std::to_string(refusal.code) + ' ' + encode(refusal.message);
}

hf_value value(const std::string &word) {
    if (word.size() < 2) return hf_null();
    const std::string_view content = std::string_view(word).substr(2);
    switch (word[0]) {
        case 'i': return hf_int(number(word.substr(2)));
        case 't': return hf_text_value(text(content));
        case 'b': return hf_blob(bytes(content));
        default: break;
    }
    uint64_t bits = 0;
    std::from_chars(content.data(), content.data() + content.size(), bits, 16);
    double real;
    std::memcpy(&real, &bits, sizeof real);
    return hf_real(real);
}

std::string shown(const hf_value &value) {
    switch (value.type) {
        case HF_INT: return "i:" + std::to_string(value.integer);
        case HF_TEXT: return "t:" + encode(value.text);
        case HF_BLOB: return "b:" + encode(value.blob);
        case HF_REAL: {
            unsigned long long bits;
            std::memcpy(&bits, &value.real, sizeof bits);
            return std::string(view(hf_format("r:%016llx", bits)));
        }
        default: return "n";
    }
}

hf_message message(const std::string &word) {
    return {word[0] == 'b', bytes(std::string_view(word).substr(std::min<size_t>(2, word.size())))};
}
