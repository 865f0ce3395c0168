// The class of the conformance suite in C++: docs/CONFORMANCE.md specifies it.
#include <string>
#include <string_view>
#include <vector>

#include <holdfast.h>

#include "script.h"
#include "words.h"

namespace {

bool begins_with(std::string_view text, std::string_view start) { return text.substr(0, start.size()) == start; }

// Adds a line to the recorded events.
hf_result note(const std::string &line) {
    hf_bytes events{};
    HF_TRY(hf_get("events", &events));
    HF_TRY(hf_put("events", bytes(std::string(view(events)) + line + '\n')));
    return HF_DONE;
}

hf_result init() {
    const std::string_view name = view(hf_name());
    if (begins_with(name, "init")) {
        int64_t inits = 0;
        HF_TRY(hf_get_int("inits", &inits, nullptr));
        HF_TRY(hf_put_int("inits", inits + 1));
    }
    return name == "init-fails" ? hf_fail("bad-name", "not to be made") : HF_DONE;
}

// `protocol_and_tags` is the path below `/accept`. Without `deferred` it is the request of this turn.
hf_error accept(std::string_view protocol_and_tags, std::optional<hf_deferred> deferred, hf_socket *socket, hf_response *response) {
    std::vector<std::string> segments;
    while (!protocol_and_tags.empty()) {
        protocol_and_tags.remove_prefix(1);
        const std::string_view segment = protocol_and_tags.substr(0, protocol_and_tags.find('/'));
        segments.emplace_back(view(hf_decode(text(segment))));
        protocol_and_tags.remove_prefix(segment.size());
    }
    const auto tags = c_strings(segments, 1);
    const hf_error error = deferred ? hf_accept_deferred(*deferred, tags.data(), tags.size(), socket)
                                    : hf_accept(tags.data(), tags.size(), socket);
    if (error) {
        hf_answer(response, 409, "%s\n", refusal(error).c_str());
        return error;
    }
    if (!segments.empty() && segments[0] != "-") hf_add_header(response, "sec-websocket-protocol", text(segments[0]));
    response->status = 101;
    return HF_OK;
}

hf_result echo(const hf_request &request, hf_response *response) {
    hf_add_header(response, "x-method", request.method);
    hf_add_header(response, "x-uri", request.uri);
    std::string values;
    bool is_there = false;
    for (size_t i = 0; i < request.header_count; i++) {
        const hf_header &header = request.headers[i];
        if (view(header.name) != "x-case") continue;
        values.append(is_there ? ", " : "").append(view(header.value));
        is_there = true;
    }
    if (is_there) hf_add_header(response, "x-case", text(values));
    return hf_answer_bytes(response, 200, "application/octet-stream", request.body);
}

hf_result fetch(const hf_request *request, hf_response *response) {
    const std::string_view path = view(hf_path(request));
    if (begins_with(path, "/echo")) return echo(*request, response);
    hf_socket socket;
    if (begins_with(path, "/accept/")) {
        accept(path.substr(7), std::nullopt, &socket, response);
        return HF_DONE;
    }
    if (begins_with(path, "/accept-held/")) {
        if (!accept(path.substr(12), std::nullopt, &socket, response)) HF_TRY(hf_hold_for(socket));
        return HF_DONE;
    }
    if (begins_with(path, "/accept-later/")) {
        const size_t end = path.find('/', 14);
        return begin({"wait " + std::string(path.substr(14, end - 14)), {}, Caller::upgrade, std::string(path.substr(end))});
    }
    if (begins_with(path, "/status/")) {
        response->status = static_cast<uint16_t>(number(std::string(path.substr(8))));
        hf_add_header(response, "set-cookie", hf_str("a=1"));
        hf_add_header(response, "set-cookie", hf_str("b=2"));
        return HF_DONE;
    }
    if (path == "/run") {
        std::string answers;
        HF_DO(begin({std::string(view(request->body)), {}, Caller::request, {}}, &answers));
        return hf_answer_bytes(response, 200, "text/plain", hf_copy(bytes(answers)));
    }
    response->status = path == "/refuse" ? 403 : 404;
    return HF_DONE;
}

hf_result alarm(uint64_t scheduled, uint32_t retry_count) {
    HF_DO(note("alarm " + std::to_string(scheduled) + ' ' + std::to_string(retry_count)));
    hf_bytes script{};
    HF_TRY(hf_get("on-alarm", &script));
    return begin({std::string(view(script)), {std::nullopt, retry_count}, Caller::event, {}});
}

hf_result on_message(hf_socket socket, hf_message message) {
    if (!message.is_binary) return begin({std::string(view(message.data)), {socket, std::nullopt}, Caller::event, {}});
    HF_TRY(hf_send(socket, message));
    return HF_DONE;
}

hf_result on_close(hf_socket, uint16_t code, hf_text reason, bool was_clean) {
    return note("close " + std::to_string(code) + ' ' + encode(reason) + (was_clean ? " true" : " false"));
}

hf_result on_error(hf_socket, hf_text) { return note("error"); }

} // namespace

void accept_later(const Script &script, hf_response *response) {
    hf_socket socket;
    accept(script.path, script.deferred, &socket, response);
}

HF_INIT(init)
HF_FETCH(fetch)
HF_ALARM(alarm)
HF_WEBSOCKET(on_message, on_close, on_error)
HF_LATER(resume)
