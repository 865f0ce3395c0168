#include "words.h"

#include <stdlib.h>
#include <string.h>

size_t count_words(const words *rest) {
    size_t count = rest->at != NULL;
    for (const char *at = rest->at; at && *at; at++) count += *at == ' ';
    return count;
}

hf_text next(words *rest) {
    if (!rest->at) return hf_str("");
    hf_text word = {rest->at, strcspn(rest->at, " ")};
    rest->at = rest->at[word.size] ? rest->at + word.size + 1 : NULL;
    return word;
}

hf_bytes next_bytes(words *rest) { return hf_decode(next(rest)); }

const char *decoded_text(hf_text word) { return (const char *)hf_decode(word).data; }

const char *next_text(words *rest) { return decoded_text(next(rest)); }

int64_t next_number(words *rest) { return strtoll(next_text(rest), NULL, 10); }

hf_value next_value(words *rest) {
    hf_text word = next(rest);
    if (word.size < 2) return hf_null();
    hf_text content = {word.data + 2, word.size - 2};
    if (word.data[0] == 'i') return hf_int(strtoll(content.data, NULL, 10));
    if (word.data[0] == 't') return hf_text_value(hf_text_of(hf_decode(content)));
    if (word.data[0] == 'b') return hf_blob(hf_decode(content));
    uint64_t bits = strtoull(content.data, NULL, 16);
    double real;
    memcpy(&real, &bits, sizeof real);
    return hf_real(real);
}

hf_message next_message(words *rest) {
    hf_text word = next(rest);
    return (hf_message){word.data[0] == 'b', hf_decode((hf_text){word.data + 2, word.size - 2})};
}

void add_bytes(text *to, hf_bytes more) {
    if (to->size + more.size > to->room) {
        to->room = 2 * (to->size + more.size) + 64;
        char *grown = hf_alloc(to->room);
        if (to->size) memcpy(grown, to->data, to->size);
        to->data = grown;
    }
    if (more.size) memcpy(to->data + to->size, more.data, more.size);
    to->size += more.size;
    if (to->data) to->data[to->size] = 0;
}

void add(text *to, const char *more) { add_bytes(to, hf_bytes_of(hf_str(more))); }

void add_encoded(text *to, hf_bytes bytes) {
    static const char DIGITS[] = "0123456789ABCDEF";
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        bool plain = (byte >= '0' && byte <= '9') || ((byte | 32) >= 'a' && (byte | 32) <= 'z') || (byte && strchr("-._~", byte));
        uint8_t encoded[] = {'%', (uint8_t)DIGITS[byte >> 4], (uint8_t)DIGITS[byte & 15]};
        add_bytes(to, plain ? (hf_bytes){&byte, 1} : (hf_bytes){encoded, 3});
    }
}

void add_number(text *to, int64_t number) { add(to, hf_format("%lld", (long long)number).data); }

void add_option(text *to, hf_bytes value) {
    add(to, value.data ? "some " : "none");
    add_encoded(to, value);
}

void add_value(text *to, hf_value value) {
    uint64_t bits;
    switch (value.type) {
        case HF_NULL: add(to, " n"); break;
        case HF_INT: add(to, hf_format(" i:%lld", (long long)value.integer).data); break;
        case HF_REAL:
            memcpy(&bits, &value.real, sizeof bits);
            add(to, hf_format(" r:%016llx", (unsigned long long)bits).data);
            break;
        default:
            add(to, value.type == HF_TEXT ? " t:" : " b:");
            add_encoded(to, value.type == HF_TEXT ? hf_bytes_of(value.text) : value.blob);
    }
}

void add_refusal(text *to, hf_error error) {
    add(to, "error ");
    add(to, hf_error_name(error));
    if (error != HF_CONSTRAINT && error != HF_SQLITE) return;
    hf_refusal refusal = hf_last_error();
    add(to, hf_format(" %d ", (int)refusal.code).data);
    add_encoded(to, hf_bytes_of(refusal.message));
}
