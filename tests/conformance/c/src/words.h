/* The words of scripts and answers. */
#ifndef WORDS_H
#define WORDS_H

#include <holdfast.h>

/* The words of a line that have not been read; `at` is NULL behind the last one. */
typedef struct words {
    const char *at;
} words;

size_t count_words(const words *rest);
/* The next word; an empty one behind the last. */
hf_text next(words *rest);
hf_bytes next_bytes(words *rest);
const char *next_text(words *rest);
int64_t next_number(words *rest);
hf_value next_value(words *rest);
hf_message next_message(words *rest);
const char *decoded_text(hf_text word);

/* A text that grows; lives as long as the turn. */
typedef struct text {
    char *data;
    size_t size, room;
} text;

void add(text *to, const char *more);
void add_bytes(text *to, hf_bytes more);
void add_encoded(text *to, hf_bytes bytes);
void add_number(text *to, int64_t number);
/* `some <value>` or `none`. */
void add_option(text *to, hf_bytes value);
/* With a space in front. */
void add_value(text *to, hf_value value);
void add_refusal(text *to, hf_error error);

#endif
