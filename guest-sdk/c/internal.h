/* What the sources of the library share: blocks, refusals, and the bindings' own texts and lists. Not for classes. */
#ifndef HOLDFAST_INTERNAL_H
#define HOLDFAST_INTERNAL_H

#include <stdarg.h>
#include <string.h>

#include "bindings/imports.h"
#include "holdfast.h"

/* Frees a block before the turn's end: what is read in batches must not pile up. */
void hf_drop_(const void *data);
/* A handle of the host is open, until it is closed or the handler returns. `drop` gives it back. */
void hf_opened_(int32_t handle, void (*drop)(int32_t handle));
void hf_close_(int32_t handle, void (*drop)(int32_t handle));
/* Remembers a refusal, for hf_last_error, and returns its case. `code` is that of the failure that it may become. */
hf_error hf_refused_(const char *code, hf_error error, int32_t sqlite, hf_text message);

/* Takes the failure of the last hf_fail, and returns whether it is retryable. */
bool hf_take_failure_(hf_text *code, hf_text *message);

hf_text hf_format_list_(const char *format, va_list arguments);
/* Sets a text as the arguments after `format` have it. */
#define FORMAT(result, format) \
    do { \
        va_list arguments; \
        va_start(arguments, format); \
        result = hf_format_list_(format, arguments); \
        va_end(arguments); \
    } while (0)

static inline hf_text text_from(imports_string_t text) { return hf_given_((const char *)text.ptr, text.len); }

static inline hf_bytes bytes_from(imports_list_u8_t bytes) { return hf_bytes_of(hf_given_((const char *)bytes.ptr, bytes.len)); }

/* The host looks at an address even if there is nothing; other languages' empty texts and lists have addresses that are none. */
static inline imports_string_t to_string(hf_text text) {
    text = hf_given_(text.data, text.size);
    return (imports_string_t){(uint8_t *)(uintptr_t)text.data, text.size};
}

static inline imports_string_t c_string(const char *text) { return to_string(hf_str(text)); }

static inline imports_list_u8_t to_list(hf_bytes bytes) {
    imports_string_t text = to_string(hf_text_of(bytes));
    return (imports_list_u8_t){text.ptr, text.len};
}

static inline imports_list_string_t to_strings(const char *const texts[], size_t count) {
    imports_list_string_t list = {hf_alloc(count * sizeof(imports_string_t)), count};
    for (size_t i = 0; i < count; i++) list.ptr[i] = c_string(texts[i]);
    return list;
}

#endif
