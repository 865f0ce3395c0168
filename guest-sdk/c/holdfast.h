/* Durable objects in C, and C++: a class is a few functions.
 *
 *     #include <holdfast.h>
 *
 *     static hf_result fetch(const hf_request *request, hf_response *response) {
 *         int64_t n = 0;
 *         HF_TRY(hf_get_int("n", &n, NULL));
 *         HF_TRY(hf_put_int("n", ++n));
 *         return hf_answer(response, 200, "%lld", (long long)n);
 *     }
 *
 *     HF_FETCH(fetch)
 *
 * TURNS. Each call of a handler is a turn, and a turn is atomic: when it returns HF_DONE, all it wrote stays and its answer goes
 * out once that is on disk; when it fails or panics, nothing of it stays and the instance is dropped (after a failure only if it
 * has stored or sent something). Static variables are
 * the object's memory: fast, and gone when the instance is dropped, which may be after any turn.
 *
 * MEMORY. Whatever this library gives (texts, bytes, lists) lives until the handler returns and is freed then; free nothing of
 * it. What must live longer is copied, or better stored. `malloc` and `free` work as ever for what is yours.
 *
 * TEXT is UTF-8. `hf_text` and `hf_bytes` that this library gives have a 0 after their last byte, so `.data` of a text without
 * U+0000 is a C string. Where a parameter is `const char *` it is a C string.
 *
 * ERRORS. A function that can be refused returns an `hf_error`: 0, or the case of the contract. What was refused changed nothing,
 * and the turn can go on. HF_TRY fails the turn with it instead. `hf_last_error` has the details.
 */
#ifndef HOLDFAST_H
#define HOLDFAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Text and bytes ---- */

/* UTF-8; `data` is NULL where there is none. */
typedef struct hf_text {
    const char *data;
    size_t size;
} hf_text;

/* Any bytes; `data` is NULL where there are none. */
typedef struct hf_bytes {
    const uint8_t *data;
    size_t size;
} hf_bytes;

/* A C string as a text; it is not copied. */
hf_text hf_str(const char *text);
/* Text as printf makes it. */
hf_text hf_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool hf_equal(hf_text text, const char *other);
/* The bytes of a text, and the text that bytes are. Nothing is copied or checked. */
hf_bytes hf_bytes_of(hf_text text);
hf_text hf_text_of(hf_bytes bytes);
/* So many zeroed bytes that are freed when the handler returns. Never NULL. */
void *hf_alloc(size_t size);
/* A copy that is freed when the handler returns: for an answer that is made of what is freed before, as a std::string is. */
hf_bytes hf_copy(hf_bytes bytes);

/* ---- Failing ---- */

/* What handlers return. */
typedef enum hf_result { HF_DONE = 0, HF_FAILED = -1 } hf_result;

/* Fails the turn: `return hf_fail("out-of-stock", "no %s left", what);`. The code is for programs (1 to 64 of `[a-z0-9-]`), the
 * message for people (8 KiB). Callers get status 500, or 503 if it is retryable: the same request may succeed later. */
hf_result hf_fail(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));
hf_result hf_fail_retryable(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the turn where it stands, like a failed assertion: the message is in the log with file and line, the caller gets
 * `guest-trap`. */
#define hf_panic(...) hf_panic_at(__FILE__, __LINE__, __VA_ARGS__)
void hf_panic_at(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

/* Why an operation was refused: the cases of the contract (wit/), in which each is explained. */
typedef enum hf_error {
    HF_OK = 0,
    HF_KEY_SIZE, HF_VALUE_SIZE, HF_TOO_MANY, HF_BAD_RANGE,
    HF_SAVEPOINT_OPEN, HF_TOO_DEEP,
    HF_NO_STATEMENT, HF_NOT_AUTHORIZED, HF_PARAMETER_COUNT, HF_CONSTRAINT, HF_SQLITE,
    HF_BAD_TIME, HF_NO_HANDLER,
    HF_NOT_AN_UPGRADE, HF_ALREADY_ACCEPTED, HF_TOO_MANY_SOCKETS, HF_BAD_TAG, HF_UNKNOWN_SOCKET, HF_CLOSING, HF_TOO_MUCH, HF_BAD_CODE,
    HF_NOT_DEFERRABLE, HF_GONE, HF_WRONG_KIND,
    HF_TOO_LARGE, HF_FULL, HF_CLOSED, HF_OTHER,
} hf_error;

/* The contract's word for a case, for example `key-size`. */
const char *hf_error_name(hf_error error);

typedef struct hf_refusal {
    hf_error error;
    /* SQLite's extended result code, for HF_CONSTRAINT and HF_SQLITE; else 0. */
    int32_t code;
    /* For people. SQLite's own for HF_CONSTRAINT and HF_SQLITE. */
    hf_text message;
} hf_refusal;

/* The last refusal of this turn. */
hf_refusal hf_last_error(void);
/* Fails the turn with the last refusal, code `storage-error`, `sql-error`, `alarm-error`, `websocket-error` or
 * `late-error`. */
hf_result hf_fail_last(void);

/* `HF_TRY(hf_put_int("n", 1));` in a function that returns hf_result: fails the turn if it is refused. */
#define HF_TRY(operation) do { if ((operation) != HF_OK) return hf_fail_last(); } while (0)
/* The same for a function that returns an hf_result itself. */
#define HF_DO(work) do { if ((work) != HF_DONE) return HF_FAILED; } while (0)

/* ---- The object ---- */

/* 64 lowercase hex digits, which never change. */
hf_text hf_id(void);
/* The name that the object was reached by; `data` is NULL if there is none. */
hf_text hf_name(void);
hf_text hf_class(void);
/* The start of this turn, in milliseconds since 1970. Stands still during a turn. */
uint64_t hf_now(void);

/* ---- Requests and responses ---- */

typedef struct hf_header {
    hf_text name;
    hf_bytes value;
} hf_header;

typedef struct hf_request {
    hf_text method;
    /* Path below the object, and query; begins with `/`. */
    hf_text uri;
    /* Names in lower case, repeated headers in their order. */
    const hf_header *headers;
    size_t header_count;
    hf_bytes body;
} hf_request;

/* What a handler fills in; it begins as an empty 200. */
typedef struct hf_response {
    uint16_t status;
    hf_bytes body;
    /* Of the library; use hf_add_header. */
    hf_header *headers;
    size_t header_count, header_room;
} hf_response;

/* The path without the query, as it was sent. */
hf_text hf_path(const hf_request *request);
/* The value of a query parameter, decoded; `data` is NULL if it is not there. */
hf_text hf_query(const hf_request *request, const char *name);
/* The first header of this name (in lower case); `data` is NULL if there is none. */
hf_bytes hf_request_header(const hf_request *request, const char *name);
/* Percent-decoded. */
hf_bytes hf_decode(hf_text text);

/* Sets status and text; the content type is text/plain. */
hf_result hf_answer(hf_response *response, uint16_t status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Sets status and body. The body is not copied and is read after the handler has returned: it is of this library, or lives for
 * ever; anything else is copied by hf_copy. */
hf_result hf_answer_bytes(hf_response *response, uint16_t status, const char *content_type, hf_bytes body);
/* Adds a header, of which it keeps a copy; the same name may be added again. */
void hf_add_header(hf_response *response, const char *name, hf_text value);

/* ---- Keys and values ---- */

typedef struct hf_entry {
    hf_text key;
    hf_bytes value;
} hf_entry;

typedef struct hf_entries {
    const hf_entry *data;
    size_t size;
} hf_entries;

/* `value->data` is NULL if the key does not exist. */
hf_error hf_get(const char *key, hf_bytes *value);
hf_error hf_put(const char *key, hf_bytes value);
/* `existed` may be NULL. */
hf_error hf_delete(const char *key, bool *existed);
/* An integer as decimal text. Leaves `value` as it is if the key does not exist; `exists` may be NULL. */
hf_error hf_get_int(const char *key, int64_t *value, bool *exists);
hf_error hf_put_int(const char *key, int64_t value);

/* Up to 128 keys in one call. */
hf_error hf_get_many(const char *const keys[], size_t count, hf_entries *entries);
hf_error hf_put_many(const hf_entry entries[], size_t count);
hf_error hf_delete_many(const char *const keys[], size_t count, uint32_t *existed);

/* What a listing holds; all zero is everything. */
typedef struct hf_list_options {
    const char *start, *start_after, *end, *prefix;
    bool reverse;
    /* `limited` says that there is a limit. */
    bool limited;
    uint32_t limit;
} hf_list_options;

/* A listing that is being read. */
typedef struct hf_listing {
    /* The entry that hf_next_entry has gone to. It lives until the next call. */
    hf_entry entry;
    /* Why hf_next_entry returned false, if not because of the end. */
    hf_error error;
    /* Of the library. */
    int32_t handle;
    const hf_entry *batch;
    size_t count, next;
} hf_listing;

/* `while (hf_next_entry(&listing)) …; HF_TRY(listing.error);`. `options` may be NULL. */
hf_error hf_list(const hf_list_options *options, hf_listing *listing);
bool hf_next_entry(hf_listing *listing);

/* ---- SQL ---- */

typedef enum hf_type { HF_NULL, HF_INT, HF_REAL, HF_TEXT, HF_BLOB } hf_type;

typedef struct hf_value {
    hf_type type;
    union {
        int64_t integer;
        double real;
        hf_text text;
        hf_bytes blob;
    };
} hf_value;

hf_value hf_null(void);
hf_value hf_int(int64_t value);
hf_value hf_real(double value);
hf_value hf_string(const char *value);
hf_value hf_text_value(hf_text value);
hf_value hf_blob(hf_bytes value);

/* The rows of a statement, read one after the other. */
typedef struct hf_rows {
    const hf_text *columns;
    size_t column_count;
    /* By the statements so far. */
    uint64_t changes;
    int64_t last_insert_rowid;
    /* The row that hf_next has gone to, `column_count` values. It lives until the next call. */
    const hf_value *row;
    /* Why hf_next returned false, if not because of the end. */
    hf_error error;
    /* Of the library. */
    int32_t cursor;
    hf_value *values;
    const uint8_t *batch, *at, *end;
} hf_rows;

/* Runs one or more statements; parameters and rows are the last one's.
 *
 *     hf_rows rows;
 *     HF_TRY(hf_sql(&rows, "SELECT id, who FROM visit WHERE who = ?", hf_string("ann")));
 *     while (hf_next(&rows)) printf("%lld %s\n", (long long)rows.row[0].integer, rows.row[1].text.data);
 *     HF_TRY(rows.error);
 *
 * `rows` may be NULL if they are not wanted. */
#ifndef __cplusplus
#define hf_sql(rows, ...) HF_SQL_(rows, __VA_ARGS__, hf_null())
#define HF_SQL_(rows, text, ...) \
    hf_sql_values(rows, text, (hf_value[]){__VA_ARGS__}, sizeof((hf_value[]){__VA_ARGS__}) / sizeof(hf_value) - 1)
#endif
/* The same with the parameters in an array. */
hf_error hf_sql_values(hf_rows *rows, const char *text, const hf_value parameters[], size_t count);
bool hf_next(hf_rows *rows);

/* ---- Storage as a whole ---- */

/* A point that the storage can go back to. They nest; each is ended by hf_keep or hf_undo before the handler returns. */
typedef struct hf_savepoint {
    int32_t handle;
} hf_savepoint;

hf_error hf_begin(hf_savepoint *savepoint);
hf_error hf_keep(hf_savepoint savepoint);
hf_error hf_undo(hf_savepoint savepoint);
/* Bytes that the storage takes. */
hf_error hf_size(uint64_t *bytes);
hf_error hf_delete_all(void);
/* Makes what the turn has written so far durable and goes on: it stays even if the turn fails later. */
hf_error hf_sync(void);

/* ---- The alarm ---- */

/* Milliseconds since 1970; 0 if there is none. */
hf_error hf_alarm(uint64_t *time);
hf_error hf_set_alarm(uint64_t time);
hf_error hf_delete_alarm(void);

/* ---- WebSockets ---- */

typedef uint64_t hf_socket;

typedef struct hf_message {
    bool is_binary;
    /* UTF-8 if it is not binary. */
    hf_bytes data;
} hf_message;

typedef struct hf_sockets {
    const hf_socket *data;
    size_t size;
} hf_sockets;

typedef struct hf_texts {
    const hf_text *data;
    size_t size;
} hf_texts;

/* Accepts the socket that this request asks for; answer with status 101. */
hf_error hf_accept(const char *const tags[], size_t count, hf_socket *socket);
/* The open ones with this tag, or all (NULL), oldest first. */
hf_sockets hf_open_sockets(const char *tag);
hf_error hf_tags(hf_socket socket, hf_texts *tags);
/* Up to 16,384 bytes that stay with the socket; `data` is NULL if there are none, and removes them. */
hf_error hf_attachment(hf_socket socket, hf_bytes *attachment);
hf_error hf_attach(hf_socket socket, hf_bytes attachment);
hf_error hf_send(hf_socket socket, hf_message message);
hf_error hf_send_text(hf_socket socket, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* To all with this tag, or to all (NULL). `count` may be NULL. */
hf_error hf_broadcast(const char *tag, hf_message message, uint32_t *count);
/* Bytes that wait for the peer to take them. */
hf_error hf_buffered(hf_socket socket, uint64_t *bytes);
/* `code` 0 sends none. */
hf_error hf_close(hf_socket socket, uint16_t code, const char *reason);
/* The host answers `request` with `response` for the object; NULL ends that. */
hf_error hf_set_auto_response(const char *request, const char *response);
/* When it last did on this socket, in milliseconds since 1970; 0 if never. */
hf_error hf_auto_response_time(hf_socket socket, uint64_t *time);

/* ---- Late work ----
 *
 * What goes on after its turn: answers that are given in a later turn, and turns at later times (HF_LATER). A handler that waits for
 * the outside is several turns; each is atomic, and others may come between them. None of it is durable: it lives in the instance, and
 * when that is dropped (by a deploy, an error, a lack of memory, a stop) callers get the error `instance-dropped`, and resumes do not
 * come. What must happen belongs in storage with an alarm. */

/* Names a resume; an instance never uses one again. */
typedef uint64_t hf_token;
/* The answer of a turn that is given in a later one. Its caller waits, so keep it in a static variable. */
typedef uint64_t hf_deferred;

/* Defers the answer of the turn that runs: what its handler answers with HF_DONE is not sent. HF_NOT_DEFERRABLE in a resume, in
 * HF_INIT, when it is deferred already, or if the class is deployed with `interleave = false`; HF_TOO_MANY beyond 1,000. */
hf_error hf_defer(hf_deferred *deferred);
/* Answer a deferred turn, as part of the turn that runs: a request; an event of a WebSocket or an alarm that was handled; any of them
 * with the failure of the last `hf_fail`, which then does not fail this turn. HF_GONE if the caller has gone, or has its answer. */
hf_error hf_reply(hf_deferred deferred, const hf_response *response);
hf_error hf_reply_done(hf_deferred deferred);
hf_error hf_reply_failed(hf_deferred deferred);
/* Accepts the socket that a deferred request asks for; it opens with the reply of status 101. HF_WRONG_KIND if it asks for none. */
hf_error hf_accept_deferred(hf_deferred deferred, const char *const tags[], size_t count, hf_socket *socket);
/* Resumes this instance when the client has gone that waits for this answer. */
hf_error hf_on_gone(hf_deferred deferred, hf_token *token);

/* Resumes this instance in a turn of its own after so many milliseconds. `holds` keeps it in memory until then, at most for the
 * `late-seconds` of the class after the last event from outside. HF_TOO_MANY beyond 1,000 resumes. */
hf_error hf_resume_after(uint64_t milliseconds, bool holds, hf_token *token);
/* Forgets a resume. Returns whether there was one to forget. */
bool hf_cancel(hf_token token);

/* Keeps this instance in memory as long as the socket is open, unless its room is needed; it is closed with 1012 then. */
hf_error hf_hold_for(hf_socket socket);
/* While it is on, only resumes come to this object, and all other events wait. After 30 s, or when the instance has no late work, the
 * instance is dropped. */
void hf_exclusive(bool on);
/* Has this instance dropped when the turn has ended, whether it succeeds or fails. */
void hf_drop_instance(void);

/* Puts something off until it has not been asked for for a while, such as saving what changes often. All zero at first. */
typedef struct hf_debounce {
    hf_token token;
    bool is_set;
} hf_debounce;

/* Puts it off until so many milliseconds from now, whatever it was put off to before. */
hf_error hf_put_off(hf_debounce *debounce, uint64_t milliseconds);
/* Does it no more. Returns whether it was to be done. */
bool hf_cancel_debounce(hf_debounce *debounce);
/* Whether these tokens of HF_LATER say that it is to be done now. Once. */
bool hf_is_due(hf_debounce *debounce, const hf_token tokens[], size_t count);

/* ---- The log ---- */

typedef enum hf_level { HF_TRACE, HF_DEBUG, HF_INFO, HF_WARN, HF_ERROR } hf_level;

typedef struct hf_field {
    hf_text name, value;
} hf_field;

/* What is written to stdout and stderr is in the log, too. */
void hf_log(hf_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hf_log_fields(hf_level level, hf_text message, const hf_field fields[], size_t count);

/* ---- What makes a class ----
 *
 * Each names a function of yours, once in the program, outside of functions. HF_FETCH is for every class. */

/* Called once per instance, inside its first turn: the place to create tables. `hf_result init(void)` */
#define HF_INIT(function) \
    __attribute__((export_name("holdfast:object/init-handler@0.2.0#init"))) void *hf_export_init_(void) { \
        return hf_end_(function()); \
    } \
    HF_POST_(init, "init-handler@0.2.0#init")

/* Answers a request. `hf_result fetch(const hf_request *request, hf_response *response)` */
#define HF_FETCH(function) \
    __attribute__((export_name("holdfast:object/fetch-handler@0.2.0#fetch"))) void *hf_export_fetch_(HF_REQUEST_) { \
        hf_request request = hf_request_(method, method_size, uri, uri_size, headers, header_count, body, body_size); \
        hf_response response = {200, {NULL, 0}, NULL, 0, 0}; \
        return hf_end_fetch_(function(&request, &response), &response); \
    } \
    HF_POST_(fetch, "fetch-handler@0.2.0#fetch")

/* Handles the alarm, set to `scheduled` (milliseconds since 1970), after so many failed attempts.
 * `hf_result alarm(uint64_t scheduled, uint32_t retry_count)` */
#define HF_ALARM(function) \
    __attribute__((export_name("holdfast:object/alarm-handler@0.2.0#alarm"))) \
    void *hf_export_alarm_(uint64_t scheduled, uint32_t retry_count) { \
        return hf_end_(function(scheduled, retry_count)); \
    } \
    HF_POST_(alarm, "alarm-handler@0.2.0#alarm")

/* Handles what comes on WebSockets.
 * `hf_result on_message(hf_socket socket, hf_message message)`
 * `hf_result on_close(hf_socket socket, uint16_t code, hf_text reason, bool was_clean)`
 * `hf_result on_error(hf_socket socket, hf_text what)` */
#define HF_WEBSOCKET(on_message, on_close, on_error) \
    __attribute__((export_name("holdfast:object/websocket-handler@0.2.0#message"))) \
    void *hf_export_message_(hf_socket socket, uint32_t is_binary, const uint8_t *data, size_t size) { \
        hf_message given = {is_binary != 0, hf_bytes_of(hf_given_((const char *)data, size))}; \
        return hf_end_(on_message(socket, given)); \
    } \
    __attribute__((export_name("holdfast:object/websocket-handler@0.2.0#close"))) \
    void *hf_export_close_(hf_socket socket, uint32_t code, const char *reason, size_t size, uint32_t was_clean) { \
        return hf_end_(on_close(socket, (uint16_t)code, hf_given_(reason, size), was_clean != 0)); \
    } \
    __attribute__((export_name("holdfast:object/websocket-handler@0.2.0#error"))) \
    void *hf_export_error_(hf_socket socket, const char *text, size_t size) { \
        return hf_end_(on_error(socket, hf_given_(text, size))); \
    } \
    HF_POST_(message, "websocket-handler@0.2.0#message") \
    HF_POST_(close, "websocket-handler@0.2.0#close") \
    HF_POST_(error, "websocket-handler@0.2.0#error")

/* Resumes what is due: one turn for all tokens that are due at this moment, at most 256. Each comes once, also if this fails.
 * `hf_result resume(const hf_token tokens[], size_t count)` */
#define HF_LATER(function) \
    __attribute__((export_name("holdfast:object/later-handler@0.2.0#resume"))) \
    void *hf_export_resume_(const hf_token *tokens, size_t count) { \
        return hf_end_(function(tokens, count)); \
    } \
    HF_POST_(resume, "later-handler@0.2.0#resume")

/* What the macros above are made of. The parameters are as the canonical ABI has them. */
#define HF_REQUEST_ \
    const char *method, size_t method_size, const char *uri, size_t uri_size, hf_header *headers, size_t header_count, \
        const uint8_t *body, size_t body_size
#define HF_POST_(handler, name) \
    __attribute__((export_name("cabi_post_holdfast:object/" name))) void hf_post_##handler##_(void *result) { hf_free_turn_(result); }
hf_request hf_request_(HF_REQUEST_);
hf_text hf_given_(const char *data, size_t size);
void *hf_end_(hf_result result);
void *hf_end_fetch_(hf_result result, const hf_response *response);
void hf_free_turn_(void *result);

#ifdef __cplusplus
}

/* What the macro is in C. */
template <typename... Values> hf_error hf_sql(hf_rows *rows, const char *text, Values... parameters) {
    const hf_value values[] = {parameters..., hf_null()};
    return hf_sql_values(rows, text, values, sizeof...(parameters));
}
#endif
#endif
