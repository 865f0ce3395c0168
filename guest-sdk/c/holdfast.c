/* The library behind holdfast.h, on top of the generated bindings.
 *
 * It owns the memory of a turn: everything that the host or this library allocates is a block in one list, which is freed when
 * the handler's result has been read. What must stay true: the functions named `…_free` of the bindings are never called, because
 * they do not know blocks; and what outlives the turn is no block. */
#include "holdfast.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bindings/imports.h"

/* ---- Memory ---- */

typedef struct block {
    struct block *next, *previous;
    max_align_t data[];
} block;

static block blocks = {&blocks, &blocks};

void *hf_alloc(size_t size) {
    /* One more byte, which stays 0: texts end like C strings. */
    block *made = calloc(1, sizeof(block) + size + 1);
    if (!made) abort();
    *made = (block){blocks.next, &blocks};
    made->next->previous = blocks.next = made;
    return made->data;
}

/* Before the turn's end: what is read in batches must not pile up. */
static void drop(const void *data) {
    if (!data) return;
    block *gone = (block *)((char *)(uintptr_t)data - offsetof(block, data));
    gone->previous->next = gone->next;
    gone->next->previous = gone->previous;
    free(gone);
}

/* The host allocates with it what it passes in. It takes the place of the bindings' own. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    void *made = hf_alloc(size);
    if (old) {
        memcpy(made, old, old_size < size ? old_size : size);
        drop(old);
    }
    return made;
}

/* The adapter for WASI preview 1 keeps what it asks for. */
__attribute__((export_name("cabi_realloc_adapter"))) void *cabi_realloc_adapter(void *old, size_t old_size, size_t align, size_t size) {
    (void)old_size, (void)align;
    void *kept = realloc(old, size);
    if (!kept) abort();
    return kept;
}

/* The bindings want an object file that `holdfast build` makes unnecessary. */
void __component_type_object_force_link_imports(void) {}

/* ---- Text and bytes ---- */

/* What the host passes for no bytes need not be a pointer. */
hf_text hf_given_(const char *data, size_t size) { return size ? (hf_text){data, size} : (hf_text){"", 0}; }

hf_text hf_str(const char *text) { return (hf_text){text, strlen(text)}; }

hf_bytes hf_bytes_of(hf_text text) { return (hf_bytes){(const uint8_t *)text.data, text.size}; }

hf_text hf_text_of(hf_bytes bytes) { return (hf_text){(const char *)bytes.data, bytes.size}; }

bool hf_equal(hf_text text, const char *other) {
    return text.data && text.size == strlen(other) && !memcmp(text.data, other, text.size);
}

static hf_text format_list(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (size < 0) abort();
    char *text = hf_alloc((size_t)size);
    vsnprintf(text, (size_t)size + 1, format, arguments);
    return (hf_text){text, (size_t)size};
}

#define FORMAT(result, format) \
    do { \
        va_list arguments; \
        va_start(arguments, format); \
        result = format_list(format, arguments); \
        va_end(arguments); \
    } while (0)

hf_text hf_format(const char *format, ...) {
    hf_text text;
    FORMAT(text, format);
    return text;
}

static hf_text text_from(imports_string_t text) { return hf_given_((const char *)text.ptr, text.len); }

static hf_bytes bytes_from(imports_list_u8_t bytes) { return hf_bytes_of(hf_given_((const char *)bytes.ptr, bytes.len)); }

static imports_string_t to_string(hf_text text) { return (imports_string_t){(uint8_t *)(uintptr_t)text.data, text.size}; }

static imports_string_t c_string(const char *text) { return to_string(hf_str(text)); }

static imports_list_u8_t to_list(hf_bytes bytes) { return (imports_list_u8_t){(uint8_t *)(uintptr_t)bytes.data, bytes.size}; }

static imports_list_string_t to_strings(const char *const texts[], size_t count) {
    imports_list_string_t list = {hf_alloc(count * sizeof(imports_string_t)), count};
    for (size_t i = 0; i < count; i++) list.ptr[i] = c_string(texts[i]);
    return list;
}

/* ---- Failing ---- */

static struct {
    hf_text code, message;
    bool retryable;
} failure;

static hf_result failing(const char *code, hf_text message, bool retryable) {
    failure.code = hf_format("%s", code);
    failure.message = message;
    failure.retryable = retryable;
    return HF_FAILED;
}

hf_result hf_fail(const char *code, const char *format, ...) {
    hf_text message;
    FORMAT(message, format);
    return failing(code, message, false);
}

hf_result hf_fail_retryable(const char *code, const char *format, ...) {
    hf_text message;
    FORMAT(message, format);
    return failing(code, message, true);
}

_Noreturn void hf_panic_at(const char *file, int line, const char *format, ...) {
    hf_text message;
    FORMAT(message, format);
    hf_log(HF_ERROR, "panicked at %s:%d: %s", file, line, message.data);
    __builtin_trap();
}

static const char *const NAMES[] = {
    [HF_OK] = "ok", [HF_KEY_SIZE] = "key-size", [HF_VALUE_SIZE] = "value-size", [HF_TOO_MANY] = "too-many",
    [HF_BAD_RANGE] = "bad-range", [HF_SAVEPOINT_OPEN] = "savepoint-open", [HF_TOO_DEEP] = "too-deep",
    [HF_NO_STATEMENT] = "no-statement", [HF_NOT_AUTHORISED] = "not-authorised", [HF_PARAMETER_COUNT] = "parameter-count",
    [HF_CONSTRAINT] = "constraint", [HF_SQLITE] = "sqlite", [HF_BAD_TIME] = "bad-time", [HF_NO_HANDLER] = "no-handler",
    [HF_NOT_AN_UPGRADE] = "not-an-upgrade", [HF_ACCEPTED_ALREADY] = "accepted-already",
    [HF_TOO_MANY_SOCKETS] = "too-many-sockets", [HF_BAD_TAG] = "bad-tag", [HF_UNKNOWN_SOCKET] = "unknown-socket",
    [HF_CLOSING] = "closing", [HF_TOO_MUCH] = "too-much", [HF_BAD_CODE] = "bad-code", [HF_TOO_LARGE] = "too-large",
    [HF_FULL] = "full", [HF_CLOSED] = "closed", [HF_OTHER] = "other",
};

const char *hf_error_name(hf_error error) { return (size_t)error <= HF_OTHER ? NAMES[error] : "other"; }

static struct {
    const char *code;
    hf_refusal refusal;
} last;

hf_refusal hf_last_error(void) { return last.refusal; }

hf_result hf_fail_last(void) {
    const hf_refusal *refusal = &last.refusal;
    return failing(last.code, hf_format("%s: %s", hf_error_name(refusal->error), refusal->message.data), false);
}

static hf_error refused(const char *code, hf_error error, int32_t sqlite, hf_text message) {
    last.code = code;
    last.refusal = (hf_refusal){error, sqlite, message};
    return error;
}

static hf_error key_value_error(const holdfast_object_key_value_error_t *error) {
    static const hf_error CASES[] = {HF_KEY_SIZE, HF_VALUE_SIZE, HF_TOO_MANY, HF_BAD_RANGE, HF_FULL, HF_CLOSED, HF_OTHER};
    hf_text message = hf_str("");
    switch (CASES[error->tag]) {
        case HF_KEY_SIZE: message = hf_format("a key has 1 to 2,048 bytes, not %u", error->val.key_size); break;
        case HF_VALUE_SIZE: message = hf_format("key and value have at most 2,000,000 bytes, not %u", error->val.value_size); break;
        case HF_TOO_MANY: message = hf_format("one call takes 128 keys, not %u", error->val.too_many); break;
        case HF_BAD_RANGE: message = text_from(error->val.bad_range); break;
        case HF_OTHER: message = text_from(error->val.other); break;
        default: break;
    }
    return refused("storage-error", CASES[error->tag], 0, message);
}

static hf_error sql_error(const holdfast_object_sql_error_t *error) {
    static const hf_error CASES[] = {HF_NO_STATEMENT, HF_NOT_AUTHORISED, HF_PARAMETER_COUNT, HF_TOO_LARGE, HF_CONSTRAINT,
                                     HF_FULL, HF_CLOSED, HF_SQLITE, HF_OTHER};
    hf_text message = hf_str("");
    int32_t code = 0;
    switch (CASES[error->tag]) {
        case HF_NOT_AUTHORISED: message = text_from(error->val.not_authorised); break;
        case HF_PARAMETER_COUNT: {
            imports_tuple2_u32_u32_t counts = error->val.parameter_count;
            message = hf_format("the statement takes %u parameters, not %u", counts.f0, counts.f1);
            break;
        }
        case HF_TOO_LARGE: message = text_from(error->val.too_large); break;
        case HF_CONSTRAINT:
        case HF_SQLITE:
            code = error->val.sqlite.code;
            message = text_from(error->val.sqlite.message);
            break;
        case HF_OTHER: message = text_from(error->val.other); break;
        default: break;
    }
    return refused("sql-error", CASES[error->tag], code, message);
}

static hf_error storage_error(const holdfast_object_storage_error_t *error) {
    static const hf_error CASES[] = {HF_SAVEPOINT_OPEN, HF_TOO_DEEP, HF_CLOSED, HF_FULL, HF_OTHER};
    hf_error is = CASES[error->tag];
    hf_text message = hf_str("");
    if (is == HF_TOO_DEEP) message = hf_format("%u savepoints are open", error->val.too_deep);
    if (is == HF_OTHER) message = text_from(error->val.other);
    return refused("storage-error", is, 0, message);
}

static hf_error alarm_error(const holdfast_object_alarms_error_t *error) {
    static const hf_error CASES[] = {HF_BAD_TIME, HF_NO_HANDLER, HF_OTHER};
    hf_error is = CASES[error->tag];
    return refused("alarm-error", is, 0, is == HF_OTHER ? text_from(error->val.other) : hf_str(""));
}

static hf_error socket_error(const holdfast_object_websockets_error_t *error) {
    static const hf_error CASES[] = {HF_NOT_AN_UPGRADE, HF_ACCEPTED_ALREADY, HF_TOO_MANY_SOCKETS, HF_BAD_TAG, HF_UNKNOWN_SOCKET,
                                     HF_CLOSING, HF_TOO_LARGE, HF_TOO_MUCH, HF_BAD_CODE, HF_OTHER};
    hf_text message = hf_str("");
    switch (CASES[error->tag]) {
        case HF_TOO_MANY_SOCKETS: message = hf_format("the object has %u", error->val.too_many_sockets); break;
        case HF_BAD_TAG: message = text_from(error->val.bad_tag); break;
        case HF_TOO_LARGE: {
            imports_tuple2_u64_u64_t sizes = error->val.too_large;
            message = hf_format("%llu bytes are more than %llu", (unsigned long long)sizes.f0, (unsigned long long)sizes.f1);
            break;
        }
        case HF_TOO_MUCH: message = hf_format("one turn sends at most %llu bytes", (unsigned long long)error->val.too_much); break;
        case HF_BAD_CODE: message = hf_format("%u is no code to close with", error->val.bad_code); break;
        case HF_OTHER: message = text_from(error->val.other); break;
        default: break;
    }
    return refused("websocket-error", CASES[error->tag], 0, message);
}

/* ---- The object, the log ---- */

hf_text hf_id(void) {
    imports_string_t id;
    holdfast_object_identity_id(&id);
    return text_from(id);
}

hf_text hf_name(void) {
    imports_string_t name;
    return holdfast_object_identity_name(&name) ? text_from(name) : (hf_text){NULL, 0};
}

hf_text hf_class(void) {
    imports_string_t class;
    holdfast_object_identity_class(&class);
    return text_from(class);
}

uint64_t hf_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void hf_log_fields(hf_level level, hf_text message, const hf_field fields[], size_t count) {
    imports_string_t text = to_string(message);
    /* The same layout: two texts. */
    imports_list_tuple2_string_string_t list = {(imports_tuple2_string_string_t *)(uintptr_t)fields, count};
    holdfast_object_logging_log((holdfast_object_logging_level_t)level, &text, &list);
}

void hf_log(hf_level level, const char *format, ...) {
    hf_text message;
    FORMAT(message, format);
    hf_log_fields(level, message, NULL, 0);
}

/* ---- Requests and responses ---- */

hf_text hf_path(const hf_request *request) {
    const char *end = memchr(request->uri.data, '?', request->uri.size);
    return (hf_text){request->uri.data, end ? (size_t)(end - request->uri.data) : request->uri.size};
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static hf_text decode(hf_text text, bool plus_is_space) {
    char *decoded = hf_alloc(text.size);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '%' && i + 2 < text.size && digit(text.data[i + 1]) >= 0 && digit(text.data[i + 2]) >= 0) {
            c = (char)(digit(text.data[i + 1]) << 4 | digit(text.data[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        decoded[size++] = c;
    }
    decoded[size] = 0;
    return (hf_text){decoded, size};
}

hf_bytes hf_decode(hf_text text) { return hf_bytes_of(decode(text, false)); }

hf_text hf_query(const hf_request *request, const char *name) {
    const char *end = request->uri.data + request->uri.size;
    const char *at = request->uri.data + hf_path(request).size;
    while (at < end) {
        const char *start = at + 1; /* After the ? or the &. */
        at = memchr(start, '&', (size_t)(end - start));
        if (!at) at = end;
        const char *equals = memchr(start, '=', (size_t)(at - start));
        const char *value = equals ? equals + 1 : at;
        hf_text given = decode((hf_text){start, (size_t)((equals ? equals : at) - start)}, true);
        if (hf_equal(given, name)) return decode((hf_text){value, (size_t)(at - value)}, true);
    }
    return (hf_text){NULL, 0};
}

hf_bytes hf_request_header(const hf_request *request, const char *name) {
    for (size_t i = 0; i < request->header_count; i++)
        if (hf_equal(request->headers[i].name, name)) return request->headers[i].value;
    return (hf_bytes){NULL, 0};
}

void hf_add_header(hf_response *response, const char *name, hf_text value) {
    if (response->header_count == response->header_room) {
        response->header_room = 2 * response->header_room + 4;
        hf_header *more = hf_alloc(response->header_room * sizeof(hf_header));
        if (response->header_count) memcpy(more, response->headers, response->header_count * sizeof(hf_header));
        drop(response->headers);
        response->headers = more;
    }
    response->headers[response->header_count++] = (hf_header){hf_format("%s", name), hf_bytes_of(value)};
}

hf_result hf_answer_bytes(hf_response *response, uint16_t status, const char *content_type, hf_bytes body) {
    response->status = status;
    response->body = body;
    hf_add_header(response, "content-type", hf_str(content_type));
    return HF_DONE;
}

hf_result hf_answer(hf_response *response, uint16_t status, const char *format, ...) {
    hf_text body;
    FORMAT(body, format);
    return hf_answer_bytes(response, status, "text/plain; charset=utf-8", hf_bytes_of(body));
}

/* ---- Keys and values ---- */

hf_error hf_get(const char *key, hf_bytes *value) {
    imports_string_t name = c_string(key);
    imports_option_list_u8_t found;
    holdfast_object_key_value_error_t error;
    if (!holdfast_object_key_value_get(&name, &found, &error)) return key_value_error(&error);
    *value = found.is_some ? bytes_from(found.val) : (hf_bytes){NULL, 0};
    return HF_OK;
}

hf_error hf_put(const char *key, hf_bytes value) {
    imports_string_t name = c_string(key);
    imports_list_u8_t bytes = to_list(value);
    holdfast_object_key_value_error_t error;
    return holdfast_object_key_value_put(&name, &bytes, &error) ? HF_OK : key_value_error(&error);
}

hf_error hf_delete(const char *key, bool *existed) {
    imports_string_t name = c_string(key);
    bool unused;
    holdfast_object_key_value_error_t error;
    return holdfast_object_key_value_delete(&name, existed ? existed : &unused, &error) ? HF_OK : key_value_error(&error);
}

hf_error hf_get_int(const char *key, int64_t *value, bool *exists) {
    hf_bytes text;
    hf_error error = hf_get(key, &text);
    if (error) return error;
    if (exists) *exists = text.data != NULL;
    if (text.data) *value = strtoll((const char *)text.data, NULL, 10);
    return HF_OK;
}

hf_error hf_put_int(const char *key, int64_t value) {
    return hf_put(key, hf_bytes_of(hf_format("%lld", (long long)value)));
}

static hf_entries entries_from(holdfast_object_key_value_list_entry_t list) {
    /* The same layout: a text and bytes. */
    hf_entry *entries = (hf_entry *)list.ptr;
    for (size_t i = 0; i < list.len; i++) entries[i].value = bytes_from(list.ptr[i].value);
    return (hf_entries){entries, list.len};
}

hf_error hf_get_many(const char *const keys[], size_t count, hf_entries *entries) {
    imports_list_string_t names = to_strings(keys, count);
    holdfast_object_key_value_list_entry_t found;
    holdfast_object_key_value_error_t error;
    if (!holdfast_object_key_value_get_many(&names, &found, &error)) return key_value_error(&error);
    *entries = entries_from(found);
    return HF_OK;
}

hf_error hf_put_many(const hf_entry entries[], size_t count) {
    holdfast_object_key_value_list_entry_t list = {(holdfast_object_key_value_entry_t *)(uintptr_t)entries, count};
    holdfast_object_key_value_error_t error;
    return holdfast_object_key_value_put_many(&list, &error) ? HF_OK : key_value_error(&error);
}

hf_error hf_delete_many(const char *const keys[], size_t count, uint32_t *existed) {
    imports_list_string_t names = to_strings(keys, count);
    uint32_t unused;
    holdfast_object_key_value_error_t error;
    return holdfast_object_key_value_delete_many(&names, existed ? existed : &unused, &error) ? HF_OK : key_value_error(&error);
}

static imports_option_string_t optional(const char *text) {
    return text ? (imports_option_string_t){true, c_string(text)} : (imports_option_string_t){.is_some = false};
}

hf_error hf_list(const hf_list_options *options, hf_listing *listing) {
    static const hf_list_options ALL;
    const hf_list_options *wanted = options ? options : &ALL;
    holdfast_object_key_value_list_options_t given = {
        .start = optional(wanted->start),
        .start_after = optional(wanted->start_after),
        .end = optional(wanted->end),
        .prefix = optional(wanted->prefix),
        .reverse = wanted->reverse,
        .limit = {wanted->limited, wanted->limit},
    };
    holdfast_object_key_value_own_entries_t entries;
    holdfast_object_key_value_error_t error;
    if (!holdfast_object_key_value_list(&given, &entries, &error)) return key_value_error(&error);
    *listing = (hf_listing){.handle = entries.__handle};
    return HF_OK;
}

bool hf_next_entry(hf_listing *listing) {
    if (listing->next == listing->count) {
        for (size_t i = 0; i < listing->count; i++) {
            drop(listing->batch[i].key.data);
            if (listing->batch[i].value.size) drop(listing->batch[i].value.data);
        }
        if (listing->count) drop(listing->batch);
        listing->count = listing->next = 0;
        if (!listing->handle) return false;
        holdfast_object_key_value_own_entries_t entries = {listing->handle};
        holdfast_object_key_value_list_entry_t batch;
        holdfast_object_key_value_error_t error;
        bool done = holdfast_object_key_value_method_entries_next(
            holdfast_object_key_value_borrow_entries(entries), 128, &batch, &error);
        if (!done) listing->error = key_value_error(&error);
        if (!done || !batch.len) {
            holdfast_object_key_value_entries_drop_own(entries);
            listing->handle = 0;
            return false;
        }
        hf_entries read = entries_from(batch);
        listing->batch = read.data;
        listing->count = read.size;
    }
    listing->entry = listing->batch[listing->next++];
    return true;
}

/* ---- SQL: rows come packed, as wit/packed-sql.wit has them ---- */

hf_value hf_null(void) { return (hf_value){.type = HF_NULL}; }
hf_value hf_int(int64_t value) { return (hf_value){HF_INT, {.integer = value}}; }
hf_value hf_real(double value) { return (hf_value){HF_REAL, {.real = value}}; }
hf_value hf_text_value(hf_text value) { return (hf_value){HF_TEXT, {.text = value}}; }
hf_value hf_string(const char *value) { return hf_text_value(hf_str(value)); }
hf_value hf_blob(hf_bytes value) { return (hf_value){HF_BLOB, {.blob = value}}; }

static holdfast_object_sql_value_t to_value(hf_value value) {
    holdfast_object_sql_value_t given = {.tag = (uint8_t)value.type};
    switch (value.type) {
        case HF_INT: given.val.integer = value.integer; break;
        case HF_REAL: given.val.real = value.real; break;
        case HF_TEXT: given.val.text = to_string(value.text); break;
        case HF_BLOB: given.val.blob = to_list(value.blob); break;
        default: break;
    }
    return given;
}

/* Texts of a batch are not followed by a 0, so they are copied. */
static hf_text unpack_text(const uint8_t **at) {
    uint32_t size;
    memcpy(&size, *at, sizeof size);
    char *text = hf_alloc(size);
    memcpy(text, *at += sizeof size, size);
    *at += size;
    return (hf_text){text, size};
}

static hf_value unpack(const uint8_t **at) {
    hf_value value = {.type = (hf_type)*(*at)++};
    switch (value.type) {
        case HF_INT:
        case HF_REAL:
            memcpy(value.type == HF_INT ? (void *)&value.integer : (void *)&value.real, *at, 8);
            *at += 8;
            break;
        case HF_TEXT:
        case HF_BLOB: value.text = unpack_text(at); break;
        default: break;
    }
    return value;
}

static void end_rows(hf_rows *rows) {
    if (rows->cursor) holdfast_object_sql_cursor_drop_own((holdfast_object_sql_own_cursor_t){rows->cursor});
    rows->cursor = 0;
}

hf_error hf_sql_values(hf_rows *rows, const char *text, const hf_value parameters[], size_t count) {
    holdfast_object_packed_sql_list_value_t given = {hf_alloc(count * sizeof *given.ptr), count};
    for (size_t i = 0; i < count; i++) given.ptr[i] = to_value(parameters[i]);
    imports_string_t statement = c_string(text);
    holdfast_object_packed_sql_outcome_t outcome;
    holdfast_object_packed_sql_error_t error;
    bool done = holdfast_object_packed_sql_exec(&statement, &given, &outcome, &error);
    drop(given.ptr);
    if (!done) return sql_error(&error);

    hf_rows unwanted;
    if (!rows) rows = &unwanted;
    *rows = (hf_rows){.changes = outcome.changes, .last_insert_rowid = outcome.last_insert_rowid};
    if (outcome.more.is_some) rows->cursor = outcome.more.val.__handle;
    if (outcome.result.is_some) {
        rows->batch = rows->at = outcome.result.val.ptr;
        rows->end = rows->at + outcome.result.val.len;
        uint32_t columns;
        memcpy(&columns, rows->at, sizeof columns);
        rows->at += sizeof columns;
        hf_text *names = hf_alloc(columns * sizeof *names);
        for (uint32_t i = 0; i < columns; i++) names[i] = unpack_text(&rows->at);
        rows->columns = names;
        rows->column_count = columns;
        rows->values = hf_alloc(columns * sizeof *rows->values);
    }
    if (rows == &unwanted) end_rows(rows);
    return HF_OK;
}

bool hf_next(hf_rows *rows) {
    for (size_t i = 0; rows->row && i < rows->column_count; i++)
        if (rows->values[i].type >= HF_TEXT) drop(rows->values[i].text.data);
    rows->row = NULL;
    if (rows->at == rows->end) {
        drop(rows->batch);
        rows->batch = rows->at = rows->end = NULL;
        if (!rows->cursor) return false;
        holdfast_object_sql_own_cursor_t cursor = {rows->cursor};
        imports_list_u8_t batch;
        holdfast_object_packed_sql_error_t error;
        bool done = holdfast_object_packed_sql_next(holdfast_object_sql_borrow_cursor(cursor), 1024, &batch, &error);
        if (!done) rows->error = sql_error(&error);
        if (!done || !batch.len) {
            end_rows(rows);
            return false;
        }
        rows->batch = rows->at = batch.ptr;
        rows->end = batch.ptr + batch.len;
    }
    for (size_t i = 0; i < rows->column_count; i++) rows->values[i] = unpack(&rows->at);
    rows->row = rows->values;
    return true;
}

/* ---- Storage as a whole, the alarm ---- */

hf_error hf_begin(hf_savepoint *savepoint) {
    holdfast_object_storage_own_savepoint_t opened;
    holdfast_object_storage_error_t error;
    if (!holdfast_object_storage_open_savepoint(&opened, &error)) return storage_error(&error);
    savepoint->handle = opened.__handle;
    return HF_OK;
}

static hf_error end_savepoint(hf_savepoint savepoint, bool keep) {
    holdfast_object_storage_own_savepoint_t ended = {savepoint.handle};
    holdfast_object_storage_borrow_savepoint_t lent = holdfast_object_storage_borrow_savepoint(ended);
    holdfast_object_storage_error_t error;
    bool done = keep ? holdfast_object_storage_method_savepoint_keep(lent, &error)
                     : holdfast_object_storage_method_savepoint_undo(lent, &error);
    holdfast_object_storage_savepoint_drop_own(ended);
    return done ? HF_OK : storage_error(&error);
}

hf_error hf_keep(hf_savepoint savepoint) { return end_savepoint(savepoint, true); }

hf_error hf_undo(hf_savepoint savepoint) { return end_savepoint(savepoint, false); }

hf_error hf_size(uint64_t *bytes) {
    holdfast_object_storage_error_t error;
    return holdfast_object_storage_size(bytes, &error) ? HF_OK : storage_error(&error);
}

hf_error hf_delete_all(void) {
    holdfast_object_storage_error_t error;
    return holdfast_object_storage_delete_all(&error) ? HF_OK : storage_error(&error);
}

hf_error hf_sync(void) {
    holdfast_object_storage_error_t error;
    return holdfast_object_storage_sync(&error) ? HF_OK : storage_error(&error);
}

hf_error hf_alarm(uint64_t *time) {
    imports_option_u64_t set;
    holdfast_object_alarms_error_t error;
    if (!holdfast_object_alarms_get(&set, &error)) return alarm_error(&error);
    *time = set.is_some ? set.val : 0;
    return HF_OK;
}

hf_error hf_set_alarm(uint64_t time) {
    holdfast_object_alarms_error_t error;
    return holdfast_object_alarms_set(time, &error) ? HF_OK : alarm_error(&error);
}

hf_error hf_delete_alarm(void) {
    holdfast_object_alarms_error_t error;
    return holdfast_object_alarms_delete(&error) ? HF_OK : alarm_error(&error);
}

/* ---- WebSockets ---- */

static holdfast_object_websockets_message_t to_message(hf_message message) {
    holdfast_object_websockets_message_t given = {.tag = message.is_binary};
    given.val.binary = to_list(message.data);
    return given;
}

hf_error hf_accept(const char *const tags[], size_t count, hf_socket *socket) {
    imports_list_string_t names = to_strings(tags, count);
    holdfast_object_websockets_error_t error;
    return holdfast_object_websockets_accept(&names, socket, &error) ? HF_OK : socket_error(&error);
}

hf_sockets hf_open_sockets(const char *tag) {
    imports_string_t name = c_string(tag ? tag : "");
    holdfast_object_websockets_list_socket_t sockets;
    holdfast_object_websockets_sockets(tag ? &name : NULL, &sockets);
    return (hf_sockets){sockets.ptr, sockets.len};
}

hf_error hf_tags(hf_socket socket, hf_texts *tags) {
    imports_list_string_t list;
    holdfast_object_websockets_error_t error;
    if (!holdfast_object_websockets_tags(socket, &list, &error)) return socket_error(&error);
    *tags = (hf_texts){(const hf_text *)list.ptr, list.len};
    return HF_OK;
}

hf_error hf_attachment(hf_socket socket, hf_bytes *attachment) {
    imports_option_list_u8_t found;
    holdfast_object_websockets_error_t error;
    if (!holdfast_object_websockets_attachment(socket, &found, &error)) return socket_error(&error);
    *attachment = found.is_some ? bytes_from(found.val) : (hf_bytes){NULL, 0};
    return HF_OK;
}

hf_error hf_attach(hf_socket socket, hf_bytes attachment) {
    imports_list_u8_t bytes = to_list(attachment);
    holdfast_object_websockets_error_t error;
    bool done = holdfast_object_websockets_set_attachment(socket, attachment.data ? &bytes : NULL, &error);
    return done ? HF_OK : socket_error(&error);
}

hf_error hf_send(hf_socket socket, hf_message message) {
    holdfast_object_websockets_message_t given = to_message(message);
    holdfast_object_websockets_error_t error;
    return holdfast_object_websockets_send(socket, &given, &error) ? HF_OK : socket_error(&error);
}

hf_error hf_send_text(hf_socket socket, const char *format, ...) {
    hf_text text;
    FORMAT(text, format);
    return hf_send(socket, (hf_message){false, hf_bytes_of(text)});
}

hf_error hf_broadcast(const char *tag, hf_message message, uint32_t *count) {
    imports_string_t name = c_string(tag ? tag : "");
    holdfast_object_websockets_message_t given = to_message(message);
    uint32_t unused;
    holdfast_object_websockets_error_t error;
    bool done = holdfast_object_websockets_broadcast(tag ? &name : NULL, &given, count ? count : &unused, &error);
    return done ? HF_OK : socket_error(&error);
}

hf_error hf_buffered(hf_socket socket, uint64_t *bytes) {
    holdfast_object_websockets_error_t error;
    return holdfast_object_websockets_buffered(socket, bytes, &error) ? HF_OK : socket_error(&error);
}

hf_error hf_close(hf_socket socket, uint16_t code, const char *reason) {
    imports_string_t words = c_string(reason);
    holdfast_object_websockets_error_t error;
    return holdfast_object_websockets_close(socket, code ? &code : NULL, &words, &error) ? HF_OK : socket_error(&error);
}

hf_error hf_set_auto_response(const char *request, const char *response) {
    holdfast_object_websockets_auto_response_pair_t pair = {c_string(request ? request : ""), c_string(response ? response : "")};
    holdfast_object_websockets_error_t error;
    bool done = holdfast_object_websockets_set_auto_response(request ? &pair : NULL, &error);
    return done ? HF_OK : socket_error(&error);
}

hf_error hf_auto_response_time(hf_socket socket, uint64_t *time) {
    imports_option_u64_t found;
    holdfast_object_websockets_error_t error;
    if (!holdfast_object_websockets_auto_response_time(socket, &found, &error)) return socket_error(&error);
    *time = found.is_some ? found.val : 0;
    return HF_OK;
}

/* ---- Results of handlers, as the canonical ABI has them ---- */

/* A `result<response, failure>` is the largest. */
typedef struct result_area {
    uint8_t is_failure;
    union {
        struct {
            uint16_t status;
            const hf_header *headers;
            size_t header_count;
            hf_bytes body;
        } response;
        struct {
            hf_text code, message;
            uint8_t retryable;
        } failure;
    };
} result_area;

hf_request hf_request_(HF_REQUEST_) {
    for (size_t i = 0; i < header_count; i++)
        headers[i].value = hf_bytes_of(hf_given_((const char *)headers[i].value.data, headers[i].value.size));
    hf_bytes bytes = hf_bytes_of(hf_given_((const char *)body, body_size));
    return (hf_request){{method, method_size}, {uri, uri_size}, headers, header_count, bytes};
}

void *hf_end_(hf_result result) {
    static result_area area;
    area.is_failure = result != HF_DONE;
    if (area.is_failure) {
        if (!failure.code.data) failing("guest-error", hf_str("the handler returned HF_FAILED without hf_fail"), false);
        area.failure.code = failure.code;
        area.failure.message = failure.message;
        area.failure.retryable = failure.retryable;
    }
    /* Standard output is buffered, and the turn ends here. */
    fflush(NULL);
    return &area;
}

void *hf_end_fetch_(hf_result result, const hf_response *response) {
    result_area *area = hf_end_(result);
    if (!area->is_failure) {
        area->response.status = response->status;
        area->response.headers = response->headers;
        area->response.header_count = response->header_count;
        area->response.body = response->body;
    }
    return area;
}

void hf_free_turn_(void *result) {
    (void)result;
    memset(&failure, 0, sizeof failure);
    memset(&last, 0, sizeof last);
    while (blocks.next != &blocks) drop(blocks.next->data);
}
