/* The library behind holdfast.h, on top of the generated bindings.
 *
 * It owns the memory of a turn: everything that the host or this library allocates is a block in one list, which is freed when
 * the handler's result has been read. It closes what is open when the handler returns, because later the host may not be called.
 * What must stay true: the functions named `…_free` of the bindings are never called, because they do not know blocks; and what
 * outlives the turn is no block. */
#include "holdfast.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "internal.h"

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

hf_bytes hf_copy(hf_bytes bytes) {
    uint8_t *copy = hf_alloc(bytes.size);
    if (bytes.size) memcpy(copy, bytes.data, bytes.size);
    return (hf_bytes){copy, bytes.size};
}

/* Before the turn's end: what is read in batches must not pile up. */
void hf_drop_(const void *data) {
    if (!data) return;
    block *gone = (block *)((char *)(uintptr_t)data - offsetof(block, data));
    gone->previous->next = gone->next;
    gone->next->previous = gone->previous;
    free(gone);
}

/* ---- What is open ---- */

typedef struct opened {
    struct opened *next;
    int32_t handle;
    void (*drop)(int32_t handle);
} opened;

static opened *all_opened;

void hf_opened_(int32_t handle, void (*drop)(int32_t)) {
    opened *made = hf_alloc(sizeof *made);
    *made = (opened){all_opened, handle, drop};
    all_opened = made;
}

void hf_close_(int32_t handle, void (*drop)(int32_t)) {
    opened **at = &all_opened;
    while (*at && ((*at)->handle != handle || (*at)->drop != drop)) at = &(*at)->next;
    opened *gone = *at;
    if (!gone) return;
    *at = gone->next;
    hf_drop_(gone);
    drop(handle);
}

/* The host allocates with it what it passes in. It takes the place of the bindings' own. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    void *made = hf_alloc(size);
    if (old) {
        memcpy(made, old, old_size < size ? old_size : size);
        hf_drop_(old);
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

hf_text hf_format_list_(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (size < 0) abort();
    char *text = hf_alloc((size_t)size);
    vsnprintf(text, (size_t)size + 1, format, arguments);
    return (hf_text){text, (size_t)size};
}

hf_text hf_format(const char *format, ...) {
    hf_text text;
    FORMAT(text, format);
    return text;
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

void hf_panic_at(const char *file, int line, const char *format, ...) {
    hf_text message;
    FORMAT(message, format);
    hf_log(HF_ERROR, "panicked at %s:%d: %s", file, line, message.data);
    __builtin_trap();
}

bool hf_take_failure_(hf_text *code, hf_text *message) {
    if (!failure.code.data) failing("guest-error", hf_str("it failed without hf_fail"), false);
    bool retryable = failure.retryable;
    *code = failure.code;
    *message = failure.message;
    memset(&failure, 0, sizeof failure);
    return retryable;
}

static const char *const NAMES[] = {
    [HF_OK] = "ok", [HF_KEY_SIZE] = "key-size", [HF_VALUE_SIZE] = "value-size", [HF_TOO_MANY] = "too-many",
    [HF_BAD_RANGE] = "bad-range", [HF_SAVEPOINT_OPEN] = "savepoint-open", [HF_TOO_DEEP] = "too-deep",
    [HF_NO_STATEMENT] = "no-statement", [HF_NOT_AUTHORIZED] = "not-authorized", [HF_PARAMETER_COUNT] = "parameter-count",
    [HF_CONSTRAINT] = "constraint", [HF_SQLITE] = "sqlite", [HF_BAD_TIME] = "bad-time", [HF_NO_HANDLER] = "no-handler",
    [HF_NOT_AN_UPGRADE] = "not-an-upgrade", [HF_ALREADY_ACCEPTED] = "already-accepted",
    [HF_TOO_MANY_SOCKETS] = "too-many-sockets", [HF_BAD_TAG] = "bad-tag", [HF_UNKNOWN_SOCKET] = "unknown-socket",
    [HF_CLOSING] = "closing", [HF_TOO_MUCH] = "too-much", [HF_BAD_CODE] = "bad-code", [HF_TOO_LARGE] = "too-large",
    [HF_NOT_DEFERRABLE] = "not-deferrable", [HF_GONE] = "gone", [HF_WRONG_KIND] = "wrong-kind",
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

hf_error hf_refused_(const char *code, hf_error error, int32_t sqlite, hf_text message) {
    last.code = code;
    last.refusal = (hf_refusal){error, sqlite, message};
    return error;
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
    imports_list_tuple2_string_string_t list = {hf_alloc(count * sizeof *list.ptr), count};
    for (size_t i = 0; i < count; i++)
        list.ptr[i] = (imports_tuple2_string_string_t){to_string(fields[i].name), to_string(fields[i].value)};
    holdfast_object_logging_log((holdfast_object_logging_level_t)level, &text, &list);
    hf_drop_(list.ptr);
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
        hf_drop_(response->headers);
        response->headers = more;
    }
    response->headers[response->header_count++] = (hf_header){hf_format("%s", name), hf_copy(hf_bytes_of(value))};
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
    while (all_opened) hf_close_(all_opened->handle, all_opened->drop);
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
        area->response.body = hf_bytes_of(hf_given_((const char *)response->body.data, response->body.size));
    }
    return area;
}

void hf_free_turn_(void *result) {
    (void)result;
    memset(&failure, 0, sizeof failure);
    memset(&last, 0, sizeof last);
    while (blocks.next != &blocks) hf_drop_(blocks.next->data);
}
