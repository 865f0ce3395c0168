/* WebSockets. */
#include "internal.h"

static hf_error socket_error(const holdfast_object_websockets_error_t *error) {
    static const hf_error CASES[] = {HF_NOT_AN_UPGRADE, HF_ALREADY_ACCEPTED, HF_TOO_MANY_SOCKETS, HF_BAD_TAG, HF_UNKNOWN_SOCKET,
                                     HF_CLOSING, HF_TOO_LARGE, HF_TOO_MUCH, HF_BAD_CODE, HF_OTHER};
    hf_text message = hf_str("");
    switch (CASES[error->tag]) {
        case HF_TOO_MANY_SOCKETS: message = hf_format("the object has %u", error->val.too_many_sockets); break;
        case HF_BAD_TAG: message = text_from(error->val.bad_tag); break;
        case HF_TOO_LARGE: {
            holdfast_object_websockets_over_limit_t sizes = error->val.too_large;
            message = hf_format("%llu bytes are more than %llu", (unsigned long long)sizes.size, (unsigned long long)sizes.limit);
            break;
        }
        case HF_TOO_MUCH: message = hf_format("one turn sends at most %llu bytes", (unsigned long long)error->val.too_much); break;
        case HF_BAD_CODE: message = hf_format("%u is no code to close with", error->val.bad_code); break;
        case HF_OTHER: message = text_from(error->val.other); break;
        default: break;
    }
    return hf_refused_("websocket-error", CASES[error->tag], 0, message);
}

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
