/* Keys and values, SQL, storage as a whole, the alarm. */
#include <stdlib.h>

#include "internal.h"

/* ---- Keys and values ---- */

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
    return hf_refused_("storage-error", CASES[error->tag], 0, message);
}

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
    holdfast_object_key_value_list_entry_t list = {hf_alloc(count * sizeof *list.ptr), count};
    for (size_t i = 0; i < count; i++)
        list.ptr[i] = (holdfast_object_key_value_entry_t){to_string(entries[i].key), to_list(entries[i].value)};
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

static void drop_entries(int32_t handle) {
    holdfast_object_key_value_entries_drop_own((holdfast_object_key_value_own_entries_t){handle});
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
    hf_opened_(entries.__handle, drop_entries);
    return HF_OK;
}

bool hf_next_entry(hf_listing *listing) {
    if (listing->next == listing->count) {
        for (size_t i = 0; i < listing->count; i++) {
            hf_drop_(listing->batch[i].key.data);
            if (listing->batch[i].value.size) hf_drop_(listing->batch[i].value.data);
        }
        if (listing->count) hf_drop_(listing->batch);
        listing->count = listing->next = 0;
        if (!listing->handle) return false;
        holdfast_object_key_value_own_entries_t entries = {listing->handle};
        holdfast_object_key_value_list_entry_t batch;
        holdfast_object_key_value_error_t error;
        bool done = holdfast_object_key_value_method_entries_next(
            holdfast_object_key_value_borrow_entries(entries), 128, &batch, &error);
        if (!done) listing->error = key_value_error(&error);
        if (!done || !batch.len) {
            hf_close_(listing->handle, drop_entries);
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

static hf_error sql_error(const holdfast_object_sql_error_t *error) {
    static const hf_error CASES[] = {HF_NO_STATEMENT, HF_NOT_AUTHORIZED, HF_PARAMETER_COUNT, HF_TOO_LARGE, HF_CONSTRAINT,
                                     HF_FULL, HF_CLOSED, HF_SQLITE, HF_OTHER};
    hf_text message = hf_str("");
    int32_t code = 0;
    switch (CASES[error->tag]) {
        case HF_NOT_AUTHORIZED: message = text_from(error->val.not_authorized); break;
        case HF_PARAMETER_COUNT: {
            holdfast_object_sql_parameter_counts_t counts = error->val.parameter_count;
            message = hf_format("the statement takes %u parameters, not %u", counts.expected, counts.given);
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
    return hf_refused_("sql-error", CASES[error->tag], code, message);
}

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

static void drop_cursor(int32_t handle) { holdfast_object_sql_cursor_drop_own((holdfast_object_sql_own_cursor_t){handle}); }

static void end_rows(hf_rows *rows) {
    if (rows->cursor) hf_close_(rows->cursor, drop_cursor);
    rows->cursor = 0;
}

hf_error hf_sql_values(hf_rows *rows, const char *text, const hf_value parameters[], size_t count) {
    holdfast_object_packed_sql_list_value_t given = {hf_alloc(count * sizeof *given.ptr), count};
    for (size_t i = 0; i < count; i++) given.ptr[i] = to_value(parameters[i]);
    imports_string_t statement = c_string(text);
    holdfast_object_packed_sql_exec_result_t result;
    holdfast_object_packed_sql_error_t error;
    bool done = holdfast_object_packed_sql_exec(&statement, &given, &result, &error);
    hf_drop_(given.ptr);
    if (!done) return sql_error(&error);

    hf_rows unwanted;
    if (!rows) rows = &unwanted;
    *rows = (hf_rows){.changes = result.changes, .last_insert_rowid = result.last_insert_rowid};
    if (result.more.is_some) {
        rows->cursor = result.more.val.__handle;
        hf_opened_(rows->cursor, drop_cursor);
    }
    if (result.packed.is_some) {
        rows->batch = rows->at = result.packed.val.ptr;
        rows->end = rows->at + result.packed.val.len;
        uint32_t columns;
        memcpy(&columns, rows->at, sizeof columns);
        rows->at += sizeof columns;
        hf_text *names = hf_alloc(columns * sizeof *names);
        for (uint32_t i = 0; i < columns; i++) {
            rows->at++; /* It says that a text follows. */
            names[i] = unpack_text(&rows->at);
        }
        rows->columns = names;
        rows->column_count = columns;
        rows->values = hf_alloc(columns * sizeof *rows->values);
    }
    if (rows == &unwanted) end_rows(rows);
    return HF_OK;
}

bool hf_next(hf_rows *rows) {
    for (size_t i = 0; rows->row && i < rows->column_count; i++)
        if (rows->values[i].type >= HF_TEXT) hf_drop_(rows->values[i].text.data);
    rows->row = NULL;
    if (rows->at == rows->end) {
        hf_drop_(rows->batch);
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

static hf_error storage_error(const holdfast_object_storage_error_t *error) {
    static const hf_error CASES[] = {HF_SAVEPOINT_OPEN, HF_TOO_DEEP, HF_CLOSED, HF_FULL, HF_OTHER};
    hf_error is = CASES[error->tag];
    hf_text message = hf_str("");
    if (is == HF_TOO_DEEP) message = hf_format("%u savepoints are open", error->val.too_deep);
    if (is == HF_OTHER) message = text_from(error->val.other);
    return hf_refused_("storage-error", is, 0, message);
}

static hf_error alarm_error(const holdfast_object_alarms_error_t *error) {
    static const hf_error CASES[] = {HF_BAD_TIME, HF_NO_HANDLER, HF_OTHER};
    hf_error is = CASES[error->tag];
    return hf_refused_("alarm-error", is, 0, is == HF_OTHER ? text_from(error->val.other) : hf_str(""));
}

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
