/* The class of the conformance suite in C: docs/CONFORMANCE.md specifies it. */
#include <holdfast.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "late.h"
#include "words.h"

static uint64_t count;

static hf_result bad_script(const char *line) { return hf_fail("bad-script", "%s", line); }

/* ---- Commands: each adds its answer, or returns what the contract refuses ---- */

static hf_error entries(hf_entries list, text *answer) {
    for (size_t i = 0; i < list.size; i++) {
        add(answer, i ? " " : "");
        add_encoded(answer, hf_bytes_of(list.data[i].key));
        add(answer, " ");
        add_encoded(answer, list.data[i].value);
    }
    return HF_OK;
}

static hf_error keys_command(const char *command, words *rest, text *answer) {
    if (!strcmp(command, "put")) {
        const char *key = next_text(rest);
        hf_error error = hf_put(key, next_bytes(rest));
        if (!error) add(answer, "ok");
        return error;
    }
    if (!strcmp(command, "get")) {
        hf_bytes value;
        hf_error error = hf_get(next_text(rest), &value);
        if (!error) add_option(answer, value);
        return error;
    }
    if (!strcmp(command, "delete")) {
        bool existed;
        hf_error error = hf_delete(next_text(rest), &existed);
        if (!error) add(answer, existed ? "true" : "false");
        return error;
    }
    size_t size = 0;
    hf_entry *pairs = hf_alloc((count_words(rest) + 1) * sizeof *pairs);
    const char **keys = hf_alloc((count_words(rest) + 1) * sizeof *keys);
    bool with_values = !strcmp(command, "put-many");
    for (; rest->at; size++) {
        keys[size] = next_text(rest);
        if (with_values) pairs[size] = (hf_entry){hf_str(keys[size]), next_bytes(rest)};
    }
    if (with_values) {
        hf_error error = hf_put_many(pairs, size);
        if (!error) add(answer, "ok");
        return error;
    }
    if (!strcmp(command, "delete-many")) {
        uint32_t existed;
        hf_error error = hf_delete_many(keys, size, &existed);
        if (!error) add_number(answer, existed);
        return error;
    }
    hf_entries found;
    hf_error error = hf_get_many(keys, size, &found);
    return error ? error : entries(found, answer);
}

static hf_error list_command(words *rest, text *answer) {
    hf_list_options options = {0};
    while (rest->at) {
        hf_text word = next(rest);
        const char *equals = memchr(word.data, '=', word.size);
        hf_text name = {word.data, equals ? (size_t)(equals - word.data) : word.size};
        const char *value = equals ? decoded_text((hf_text){equals + 1, word.size - name.size - 1}) : "";
        if (hf_equal(name, "start")) options.start = value;
        if (hf_equal(name, "start-after")) options.start_after = value;
        if (hf_equal(name, "end")) options.end = value;
        if (hf_equal(name, "prefix")) options.prefix = value;
        if (hf_equal(name, "reverse")) options.reverse = true;
        if (hf_equal(name, "limit")) options.limited = true, options.limit = (uint32_t)strtoul(value, NULL, 10);
    }
    hf_listing listing;
    hf_error error = hf_list(&options, &listing);
    if (error) return error;
    for (bool first = true; hf_next_entry(&listing); first = false) {
        add(answer, first ? "" : " ");
        entries((hf_entries){&listing.entry, 1}, answer);
    }
    return listing.error;
}

static hf_error sql_command(const char *command, words *rest, text *answer) {
    const char *statement = next_text(rest);
    hf_value *values = hf_alloc((count_words(rest) + 1) * sizeof *values);
    size_t size = 0;
    while (rest->at) values[size++] = next_value(rest);
    hf_rows rows;
    hf_error error = hf_sql_values(&rows, statement, values, size);
    if (error) return error;
    if (!strcmp(command, "sql-changes")) {
        add_number(answer, (int64_t)rows.changes);
        add(answer, " ");
        add_number(answer, rows.last_insert_rowid);
        return HF_OK;
    }
    if (!strcmp(command, "sql-sum")) {
        int64_t read = 0, sum = 0;
        while (hf_next(&rows)) read++, sum += rows.row[0].integer;
        add_number(answer, read);
        add(answer, " ");
        add_number(answer, sum);
        return rows.error;
    }
    add_number(answer, (int64_t)rows.column_count);
    for (size_t i = 0; i < rows.column_count; i++) {
        add(answer, " ");
        add_encoded(answer, hf_bytes_of(rows.columns[i]));
    }
    while (hf_next(&rows))
        for (size_t i = 0; i < rows.column_count; i++) add_value(answer, rows.row[i]);
    return rows.error;
}

static hf_error socket_command(const char *command, words *rest, about turn, text *answer) {
    if (!strcmp(command, "sockets")) {
        add_number(answer, (int64_t)hf_open_sockets(rest->at ? next_text(rest) : NULL).size);
        return HF_OK;
    }
    if (!strcmp(command, "broadcast")) {
        hf_message message = next_message(rest);
        uint32_t reached;
        hf_error error = hf_broadcast(rest->at ? next_text(rest) : NULL, message, &reached);
        if (!error) add_number(answer, reached);
        return error;
    }
    hf_error error = HF_OK;
    if (!strcmp(command, "auto-response")) {
        const char *request = rest->at ? next_text(rest) : NULL;
        error = hf_set_auto_response(request, request ? next_text(rest) : NULL);
        if (!error) add(answer, "ok");
        return error;
    }
    const char *which = next_text(rest);
    hf_socket socket = turn.socket;
    if (strcmp(which, "@")) {
        hf_sockets open = hf_open_sockets(which);
        if (!open.size) return HF_UNKNOWN_SOCKET;
        socket = open.data[0];
    } else if (!turn.has_socket) {
        return HF_UNKNOWN_SOCKET;
    }
    if (!strcmp(command, "tags")) {
        hf_texts tags;
        if ((error = hf_tags(socket, &tags))) return error;
        for (size_t i = 0; i < tags.size; i++) {
            add(answer, i ? " " : "");
            add_encoded(answer, hf_bytes_of(tags.data[i]));
        }
        return HF_OK;
    }
    if (!strcmp(command, "attachment")) {
        hf_bytes attached;
        if (!(error = hf_attachment(socket, &attached))) add_option(answer, attached);
        return error;
    }
    if (!strcmp(command, "attach")) error = hf_attach(socket, next_bytes(rest));
    if (!strcmp(command, "send")) error = hf_send(socket, next_message(rest));
    if (!strcmp(command, "close")) {
        uint16_t code = (uint16_t)next_number(rest);
        error = hf_close(socket, code, next_text(rest));
    }
    if (!error) add(answer, "ok");
    return error;
}

__attribute__((noinline)) static void throw_deeper(const char *message) { hf_panic("%s", message); }

__attribute__((noinline)) static void throw(const char *message) { throw_deeper(message); }

static void log_command(words *rest) {
    static const char *const LEVELS[] = {"trace", "debug", "info", "warn", "error"};
    const char *named = next_text(rest);
    hf_level level = HF_TRACE;
    while (level < HF_ERROR && strcmp(named, LEVELS[level])) level++;
    hf_text message = hf_text_of(next_bytes(rest));
    hf_field *fields = hf_alloc((count_words(rest) + 1) * sizeof *fields);
    size_t size = 0;
    for (; rest->at; size++) {
        hf_text name = hf_text_of(next_bytes(rest));
        fields[size] = (hf_field){name, hf_text_of(next_bytes(rest))};
    }
    hf_log_fields(level, message, fields, size);
}

/* What has an answer and cannot be refused. */
static bool plain_command(const char *command, words *rest, text *answer) {
    if (!strcmp(command, "id")) {
        add_encoded(answer, hf_bytes_of(hf_id()));
    } else if (!strcmp(command, "name")) {
        add_option(answer, hf_bytes_of(hf_name()));
    } else if (!strcmp(command, "class")) {
        add_encoded(answer, hf_bytes_of(hf_class()));
    } else if (!strcmp(command, "count")) {
        add_number(answer, (int64_t)++count);
    } else if (!strcmp(command, "now")) {
        add_number(answer, (int64_t)hf_now());
    } else if (!strcmp(command, "random")) {
        uint64_t numbers[2];
        if (getentropy(numbers, sizeof numbers)) hf_panic("there is no randomness");
        add(answer, hf_format("%llu %llu", (unsigned long long)numbers[0], (unsigned long long)numbers[1]).data);
    } else {
        if (!strcmp(command, "throw")) {
            throw(next_text(rest));
        } else if (!strcmp(command, "log")) {
            log_command(rest);
        } else if (!strcmp(command, "print")) {
            puts(next_text(rest));
        } else if (!strcmp(command, "print-error")) {
            fprintf(stderr, "%s\n", next_text(rest));
        } else {
            return false;
        }
        add(answer, "ok");
    }
    return true;
}

static bool is_one_of(const char *command, const char *const names[]) {
    while (*names && strcmp(command, *names)) names++;
    return *names != NULL;
}

hf_result run_command(const char *line, about turn, text *answers) {
    bool is_caught = strncmp(line, "uncaught ", 9);
    if (!is_caught) line += 9;
    static const char *const KEYS[] = {"put", "get", "delete", "put-many", "get-many", "delete-many", NULL};
    static const char *const SQL[] = {"sql", "sql-changes", "sql-sum", NULL};
    static const char *const SOCKETS[] = {"sockets", "broadcast", "auto-response", "tags", "attachment", "attach", "send", "close", NULL};
    words rest = {line};
    text answer = {0};
    const char *command = next_text(&rest);
    hf_error error = HF_OK;
    uint64_t number;
    if (plain_command(command, &rest, &answer)) {
    } else if (is_one_of(command, KEYS)) {
        error = keys_command(command, &rest, &answer);
    } else if (is_one_of(command, SQL)) {
        error = sql_command(command, &rest, &answer);
    } else if (is_one_of(command, SOCKETS)) {
        error = socket_command(command, &rest, turn, &answer);
    } else if (!strcmp(command, "list")) {
        error = list_command(&rest, &answer);
    } else if (!strcmp(command, "size")) {
        if (!(error = hf_size(&number))) add_number(&answer, (int64_t)number);
    } else if (!strcmp(command, "alarm-get")) {
        if (!(error = hf_alarm(&number)))
            add(&answer, number ? hf_format("some %llu", (unsigned long long)number).data : "none");
    } else if (!strcmp(command, "fail")) {
        const char *code = next_text(&rest), *message = next_text(&rest);
        bool retryable = !strcmp(next_text(&rest), "true");
        return retryable ? hf_fail_retryable(code, "%s", message) : hf_fail(code, "%s", message);
    } else {
        if (!strcmp(command, "delete-all")) {
            error = hf_delete_all();
        } else if (!strcmp(command, "sync")) {
            error = hf_sync();
        } else if (!strcmp(command, "alarm-set")) {
            error = hf_set_alarm((uint64_t)next_number(&rest));
        } else if (!strcmp(command, "alarm-delete")) {
            error = hf_delete_alarm();
        } else if (!strcmp(command, "fail-before")) {
            if (turn.is_alarm && turn.retry_count < (uint64_t)next_number(&rest)) return hf_fail("too-early", "not yet");
        } else {
            return bad_script(line);
        }
        add(&answer, "ok");
    }
    if (error && !is_caught) return hf_fail_last();
    if (error) add_refusal(answers, error);
    else add(answers, answer.size ? answer.data : "");
    add(answers, "\n");
    return HF_DONE;
}

/* ---- Scripts ---- */

static const char *next_line(const char **script) {
    while (**script == '\n') ++*script;
    if (!**script) return NULL;
    const char *start = *script;
    *script += strcspn(start, "\n");
    return hf_format("%.*s", (int)(*script - start), start).data;
}

/* Runs a line; one that begins a transaction with all lines up to its end. */
static hf_result run_line(const char *line, script *script) {
    if (strcmp(line, "transaction keep") && strcmp(line, "transaction undo"))
        return run_command(line, script->about, &script->answers);
    bool keep = line[12] == 'k';
    hf_savepoint savepoint;
    HF_TRY(hf_begin(&savepoint));
    while ((line = next_line(&script->at)) && strcmp(line, "end")) HF_DO(run_line(line, script));
    if (!line) return bad_script("a transaction has no end");
    HF_TRY(keep ? hf_keep(savepoint) : hf_undo(savepoint));
    add(&script->answers, keep ? "kept\n" : "undone\n");
    return HF_DONE;
}

hf_result run_script(script *script) {
    const char *line;
    while (script->pause == NONE && (line = next_line(&script->at))) {
        bool is_late;
        HF_DO(late_command(line, script, &is_late));
        if (!is_late) HF_DO(run_line(line, script));
    }
    return HF_DONE;
}

/* ---- Handlers ---- */

/* Adds a line to the recorded events. */
static hf_result note(hf_text line) {
    hf_bytes events;
    HF_TRY(hf_get("events", &events));
    text all = {0};
    add_bytes(&all, events);
    add(&all, line.data);
    HF_TRY(hf_put("events", (hf_bytes){(const uint8_t *)all.data, all.size}));
    return HF_DONE;
}

static hf_result init(void) {
    hf_text name = hf_name();
    if (name.data && !strncmp(name.data, "init", 4)) {
        int64_t inits = 0;
        HF_TRY(hf_get_int("inits", &inits, NULL));
        HF_TRY(hf_put_int("inits", inits + 1));
    }
    return hf_equal(name, "init-fails") ? hf_fail("bad-name", "not to be made") : HF_DONE;
}

/* The path is `/<protocol>/<tag>…`. `deferred` is NULL for the request of this turn. */
static hf_error accept_path(const char *path, const hf_deferred *deferred, hf_socket *socket, hf_response *response) {
    const char *tags[16];
    size_t size = 0;
    const char *protocol = NULL;
    while (*path == '/') {
        size_t length = strcspn(++path, "/");
        const char *word = decoded_text((hf_text){path, length});
        path += length;
        if (!protocol) protocol = word;
        else if (size < 16) tags[size++] = word;
    }
    hf_error error = deferred ? hf_accept_deferred(*deferred, tags, size, socket) : hf_accept(tags, size, socket);
    if (error) {
        text answer = {0};
        add_refusal(&answer, error);
        hf_answer(response, 409, "%s\n", answer.data);
        return error;
    }
    if (protocol && strcmp(protocol, "-")) hf_add_header(response, "sec-websocket-protocol", hf_str(protocol));
    response->status = 101;
    return HF_OK;
}

void accept_later(const char *path, hf_deferred deferred, hf_response *response) {
    hf_socket socket;
    accept_path(path, &deferred, &socket, response);
}

static hf_result echo(const hf_request *request, hf_response *response) {
    hf_add_header(response, "x-method", request->method);
    hf_add_header(response, "x-uri", request->uri);
    text values = {0};
    bool has = false;
    for (size_t i = 0; i < request->header_count; i++) {
        if (!hf_equal(request->headers[i].name, "x-case")) continue;
        add(&values, has ? ", " : "");
        add_bytes(&values, request->headers[i].value);
        has = true;
    }
    if (has) hf_add_header(response, "x-case", (hf_text){values.data, values.size});
    return hf_answer_bytes(response, 200, "application/octet-stream", request->body);
}

static hf_result fetch(const hf_request *request, hf_response *response) {
    const char *path = hf_format("%.*s", (int)hf_path(request).size, request->uri.data).data;
    if (!strncmp(path, "/echo", 5)) return echo(request, response);
    hf_socket socket;
    if (!strncmp(path, "/accept/", 8)) {
        accept_path(path + 7, NULL, &socket, response);
        return HF_DONE;
    }
    if (!strncmp(path, "/accept-held/", 13)) {
        if (!accept_path(path + 12, NULL, &socket, response)) HF_TRY(hf_hold_for(socket));
        return HF_DONE;
    }
    if (!strncmp(path, "/accept-later/", 14)) {
        size_t digits = strcspn(path + 14, "/");
        script *waiting = new_script(hf_bytes_of(hf_format("wait %.*s", (int)digits, path + 14)), (about){0}, UPGRADE);
        waiting->path = strdup(path + 14 + digits);
        return begin(waiting, NULL);
    }
    if (!strncmp(path, "/status/", 8)) {
        response->status = (uint16_t)atoi(path + 8);
        hf_add_header(response, "set-cookie", hf_str("a=1"));
        hf_add_header(response, "set-cookie", hf_str("b=2"));
        return HF_DONE;
    }
    if (!strcmp(path, "/run")) {
        text answers = {0};
        HF_DO(begin(new_script(request->body, (about){0}, REQUEST), &answers));
        return hf_answer_bytes(response, 200, "text/plain", (hf_bytes){(const uint8_t *)answers.data, answers.size});
    }
    response->status = strcmp(path, "/refuse") ? 404 : 403;
    return HF_DONE;
}

static hf_result alarm(uint64_t scheduled, uint32_t retry_count) {
    HF_DO(note(hf_format("alarm %llu %u\n", (unsigned long long)scheduled, retry_count)));
    hf_bytes script;
    HF_TRY(hf_get("on-alarm", &script));
    return begin(new_script(script, (about){.is_alarm = true, .retry_count = retry_count}, EVENT), NULL);
}

static hf_result message(hf_socket socket, hf_message message) {
    if (message.is_binary) {
        HF_TRY(hf_send(socket, message));
        return HF_DONE;
    }
    return begin(new_script(message.data, (about){.socket = socket, .has_socket = true}, EVENT), NULL);
}

static hf_result closed(hf_socket socket, uint16_t code, hf_text reason, bool was_clean) {
    (void)socket;
    text shown = {0};
    add_encoded(&shown, hf_bytes_of(reason));
    return note(hf_format("close %u %s %s\n", code, shown.size ? shown.data : "", was_clean ? "true" : "false"));
}

static hf_result failed(hf_socket socket, hf_text what) {
    (void)socket, (void)what;
    return note(hf_str("error\n"));
}

HF_INIT(init)
HF_FETCH(fetch)
HF_ALARM(alarm)
HF_WEBSOCKET(message, closed, failed)
HF_LATER(resume)
