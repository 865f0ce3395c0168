#include "late.h"

#include <stdlib.h>
#include <string.h>

/* A command that is to be run. */
typedef struct timer {
    struct timer *next;
    char *name, *command;
    hf_debounce debounce;
} timer;

/* `ready` scripts go on when the script that runs has ended, or waits. */
static script *waiting, *ready;
static timer *timers;

script *new_script(hf_bytes lines, about about, caller caller) {
    script *made = calloc(1, sizeof *made);
    char *copy = calloc(1, lines.size + 1);
    if (!made || !copy) abort();
    if (lines.size) memcpy(copy, lines.data, lines.size);
    made->at = made->lines = copy;
    made->about = about;
    made->caller = caller;
    return made;
}

static void free_script(script *script) {
    free(script->lines);
    free(script->saved);
    free(script->path);
    free(script->topic);
    free(script->gone_key);
    free(script);
}

static void push(script **list, script *script) {
    while (*list) list = &(*list)->next;
    script->next = NULL;
    *list = script;
}

/* Has a script wait: what it has answered must outlive this turn. */
static void keep(script *script) {
    char *saved = malloc(script->answers.size + 1);
    if (!saved) abort();
    if (script->answers.size) memcpy(saved, script->answers.data, script->answers.size);
    saved[script->answers.size] = 0;
    free(script->saved);
    script->saved = saved;
    script->answers = (text){saved, script->answers.size, script->answers.size};
    push(&waiting, script);
}

static hf_error answer(const script *script) {
    hf_bytes answers = {(const uint8_t *)script->answers.data, script->answers.size};
    hf_response response = {200, {NULL, 0}, NULL, 0, 0};
    if (script->caller == REQUEST) {
        hf_answer_bytes(&response, 200, "text/plain", answers);
    } else if (script->caller == UPGRADE) {
        accept_later(script->path, script->deferred, &response);
    } else {
        hf_error error = script->about.has_socket ? hf_send(script->about.socket, (hf_message){false, answers}) : HF_OK;
        return error || !script->is_deferred ? error : hf_reply_done(script->deferred);
    }
    return hf_reply(script->deferred, &response);
}

/* Answers the caller of a script, unless it has gone. */
static hf_result end(script *script, hf_result result) {
    if (script->gone_key) hf_cancel(script->gone);
    hf_error error = result == HF_DONE ? answer(script) : hf_reply_failed(script->deferred);
    free_script(script);
    return error && error != HF_GONE ? hf_fail_last() : HF_DONE;
}

static hf_result go_on(void) {
    while (ready) {
        script *script = ready;
        ready = script->next;
        hf_result result = run_script(script);
        if (result == HF_DONE && script->pause != NONE) keep(script);
        else HF_DO(end(script, result));
    }
    return HF_DONE;
}

hf_result begin(script *script, text *answers) {
    if (run_script(script) != HF_DONE) {
        free_script(script);
        return HF_FAILED;
    }
    if (script->pause != NONE) {
        keep(script);
    } else if (script->caller == REQUEST && !script->is_deferred) {
        *answers = script->answers;
        free_script(script);
    } else {
        HF_DO(end(script, HF_DONE));
    }
    return go_on();
}

static bool is_named(const char *command, const char *name) { return !strcmp(command, name); }

static hf_error defer(script *script) {
    if (script->is_deferred) return HF_OK;
    hf_error error = hf_defer(&script->deferred);
    script->is_deferred = !error;
    return error;
}

static hf_error wait_until(script *script, uint64_t milliseconds, wait_kind kind) {
    hf_error error = defer(script);
    if (!error) error = hf_resume_after(milliseconds, true, &script->until);
    if (error) return error;
    if (kind == UNTIL_EXCLUSIVE) hf_exclusive(true);
    script->pause = kind;
    add(&script->answers, "ok\n");
    return HF_OK;
}

static void tell(const char *topic, hf_bytes told, text *answers) {
    int64_t count = 0;
    for (script **at = &waiting; *at;) {
        script *script = *at;
        if (script->pause != FOR || strcmp(script->topic, topic)) {
            at = &script->next;
            continue;
        }
        *at = script->next;
        script->pause = NONE;
        add_encoded(&script->answers, told);
        add(&script->answers, "\n");
        push(&ready, script);
        count++;
    }
    add_number(answers, count);
    add(answers, "\n");
}

static timer **find_timer(const char *name) {
    timer **at = &timers;
    while (*at && strcmp((*at)->name, name)) at = &(*at)->next;
    return at;
}

/* Forgets a timer and returns its command, which is freed by the caller. */
static char *take_timer(timer **at) {
    timer *gone = *at;
    *at = gone->next;
    char *command = gone->command;
    free(gone->name);
    free(gone);
    return command;
}

static hf_error later(uint64_t milliseconds, const char *name, const char *command) {
    timer *timer = *find_timer(name);
    if (!timer) {
        timer = calloc(1, sizeof *timer);
        if (!timer) abort();
        timer->name = strdup(name);
        timer->next = timers;
        timers = timer;
    }
    free(timer->command);
    timer->command = strdup(command);
    return hf_put_off(&timer->debounce, milliseconds);
}

hf_result late_command(const char *line, script *script, bool *is_late) {
    words rest = {line};
    const char *command = next_text(&rest);
    text *answers = &script->answers;
    hf_error error = HF_OK;
    *is_late = true;
    if (is_named(command, "wait")) {
        error = wait_until(script, (uint64_t)next_number(&rest), UNTIL);
    } else if (is_named(command, "wait-exclusive")) {
        error = wait_until(script, (uint64_t)next_number(&rest), UNTIL_EXCLUSIVE);
    } else if (is_named(command, "wait-for")) {
        if (!(error = defer(script))) {
            free(script->topic);
            script->topic = strdup(next_text(&rest));
            script->pause = FOR;
        }
    } else if (is_named(command, "tell")) {
        const char *topic = next_text(&rest);
        tell(topic, next_bytes(&rest), answers);
    } else if (is_named(command, "later")) {
        uint64_t milliseconds = (uint64_t)next_number(&rest);
        const char *name = next_text(&rest);
        if (!(error = later(milliseconds, name, rest.at ? rest.at : ""))) add(answers, "ok\n");
    } else if (is_named(command, "cancel")) {
        timer **timer = find_timer(next_text(&rest));
        bool was_set = *timer && hf_cancel_debounce(&(*timer)->debounce);
        if (*timer) free(take_timer(timer));
        add(answers, was_set ? "true\n" : "false\n");
    } else if (is_named(command, "on-gone")) {
        if (!(error = defer(script)) && !(error = hf_on_gone(script->deferred, &script->gone))) {
            script->gone_key = strdup(next_text(&rest));
            add(answers, "ok\n");
        }
    } else {
        *is_late = false;
    }
    if (error) {
        add_refusal(answers, error);
        add(answers, "\n");
    }
    return HF_DONE;
}

static hf_result resume_one(hf_token token) {
    for (script **at = &waiting; *at; at = &(*at)->next) {
        script *script = *at;
        bool is_due = (script->pause == UNTIL || script->pause == UNTIL_EXCLUSIVE) && script->until == token;
        bool is_gone = script->gone_key && script->gone == token;
        if (!is_due && !is_gone) continue;
        *at = script->next;
        if (is_gone) {
            HF_TRY(hf_put(script->gone_key, hf_bytes_of(hf_str("gone"))));
            free_script(script);
            return HF_DONE;
        }
        if (script->pause == UNTIL_EXCLUSIVE) hf_exclusive(false);
        script->pause = NONE;
        push(&ready, script);
        return HF_DONE;
    }
    for (timer **at = &timers; *at; at = &(*at)->next) {
        if (!hf_is_due(&(*at)->debounce, &token, 1)) continue;
        char *command = take_timer(at);
        text unused = {0};
        if (run_command(command, (about){0}, &unused) != HF_DONE) hf_log(HF_ERROR, "%s has failed", command);
        free(command);
        return HF_DONE;
    }
    return HF_DONE;
}

hf_result resume(const hf_token tokens[], size_t count) {
    for (size_t i = 0; i < count; i++) HF_DO(resume_one(tokens[i]));
    return go_on();
}
