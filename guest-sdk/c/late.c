/* Late work. */
#include "internal.h"

static hf_error late_error(const holdfast_object_later_error_t *error) {
    static const hf_error CASES[] = {HF_TOO_MANY, HF_NOT_DEFERRABLE, HF_GONE, HF_WRONG_KIND, HF_OTHER};
    hf_text message = hf_str("");
    switch (CASES[error->tag]) {
        case HF_TOO_MANY: message = hf_format("the instance has %u, as many as it may", error->val.too_many); break;
        case HF_NOT_DEFERRABLE: message = hf_str("the answer of this turn cannot be deferred"); break;
        case HF_GONE: message = hf_str("the answer was given, or its caller has gone"); break;
        case HF_WRONG_KIND: message = hf_str("the caller waits for another kind of answer"); break;
        case HF_OTHER: message = text_from(error->val.other); break;
        default: break;
    }
    return hf_refused_("late-error", CASES[error->tag], 0, message);
}

hf_error hf_defer(hf_deferred *deferred) {
    holdfast_object_later_error_t error;
    return holdfast_object_later_defer(deferred, &error) ? HF_OK : late_error(&error);
}

static hf_error reply(hf_deferred deferred, holdfast_object_later_answer_t answer) {
    holdfast_object_later_error_t error;
    return holdfast_object_later_reply(deferred, &answer, &error) ? HF_OK : late_error(&error);
}

hf_error hf_reply(hf_deferred deferred, const hf_response *response) {
    holdfast_object_later_answer_t answer = {.tag = HOLDFAST_OBJECT_LATER_ANSWER_RESPONSE};
    imports_list_tuple2_string_list_u8_t headers = {hf_alloc(response->header_count * sizeof *headers.ptr), response->header_count};
    for (size_t i = 0; i < headers.len; i++)
        headers.ptr[i] = (imports_tuple2_string_list_u8_t){to_string(response->headers[i].name), to_list(response->headers[i].value)};
    answer.val.response = (holdfast_object_later_response_t){response->status, headers, to_list(response->body)};
    return reply(deferred, answer);
}

hf_error hf_reply_done(hf_deferred deferred) {
    return reply(deferred, (holdfast_object_later_answer_t){.tag = HOLDFAST_OBJECT_LATER_ANSWER_DONE});
}

hf_error hf_reply_failed(hf_deferred deferred) {
    hf_text code, message;
    bool retryable = hf_take_failure_(&code, &message);
    holdfast_object_later_answer_t answer = {.tag = HOLDFAST_OBJECT_LATER_ANSWER_FAILED};
    answer.val.failed = (holdfast_object_later_failure_t){to_string(code), to_string(message), retryable};
    return reply(deferred, answer);
}

hf_error hf_accept_deferred(hf_deferred deferred, const char *const tags[], size_t count, hf_socket *socket) {
    imports_list_string_t names = to_strings(tags, count);
    holdfast_object_later_error_t error;
    return holdfast_object_later_accept(deferred, &names, socket, &error) ? HF_OK : late_error(&error);
}

hf_error hf_on_gone(hf_deferred deferred, hf_token *token) {
    holdfast_object_later_error_t error;
    return holdfast_object_later_on_gone(deferred, token, &error) ? HF_OK : late_error(&error);
}

hf_error hf_resume_after(uint64_t milliseconds, bool holds, hf_token *token) {
    holdfast_object_later_error_t error;
    return holdfast_object_later_resume_after(milliseconds, holds, token, &error) ? HF_OK : late_error(&error);
}

bool hf_cancel(hf_token token) { return holdfast_object_later_cancel(token); }

hf_error hf_hold_for(hf_socket socket) {
    holdfast_object_later_error_t error;
    return holdfast_object_later_hold_for(socket, &error) ? HF_OK : late_error(&error);
}

void hf_exclusive(bool on) { holdfast_object_later_exclusive(on); }

void hf_drop_instance(void) { holdfast_object_later_drop_instance(); }

hf_error hf_put_off(hf_debounce *debounce, uint64_t milliseconds) {
    hf_token token;
    hf_error error = hf_resume_after(milliseconds, true, &token);
    if (error) return error;
    hf_cancel_debounce(debounce);
    *debounce = (hf_debounce){token, true};
    return HF_OK;
}

bool hf_cancel_debounce(hf_debounce *debounce) {
    bool was_set = debounce->is_set && hf_cancel(debounce->token);
    debounce->is_set = false;
    return was_set;
}

bool hf_is_due(hf_debounce *debounce, const hf_token tokens[], size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!debounce->is_set || tokens[i] != debounce->token) continue;
        debounce->is_set = false;
        return true;
    }
    return false;
}
