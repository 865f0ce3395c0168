// Scripts that wait, and commands that are run later.
#include <deque>
#include <list>
#include <map>

#include "script.h"
#include "words.h"

namespace {

// A command that is to be run.
struct Timer {
    hf_debounce debounce{};
    std::string command;
};

std::list<Script> waiting;
// These go on when the script that runs has ended, or waits.
std::deque<Script> ready;
std::map<std::string, Timer> timers;

hf_error answer(const Script &script) {
    hf_response response = {200, {nullptr, 0}, nullptr, 0, 0};
    switch (script.caller) {
        case Caller::request: hf_answer_bytes(&response, 200, "text/plain", bytes(script.answers)); break;
        case Caller::upgrade: accept_later(script, &response); break;
        case Caller::event:
            if (script.about.socket)
                if (hf_error error = hf_send(*script.about.socket, {false, bytes(script.answers)})) return error;
            return script.deferred ? hf_reply_done(*script.deferred) : HF_OK;
    }
    return hf_reply(*script.deferred, &response);
}

// Answers the caller of a script, unless it has gone.
hf_result end(const Script &script, hf_result result) {
    if (script.gone) hf_cancel(*script.gone);
    const hf_error error = result == HF_DONE ? answer(script) : hf_reply_failed(*script.deferred);
    return error && error != HF_GONE ? hf_fail_last() : HF_DONE;
}

hf_result go_on() {
    while (!ready.empty()) {
        Script script = std::move(ready.front());
        ready.pop_front();
        const hf_result result = run(script);
        if (result == HF_DONE && script.pause != Pause::none) waiting.push_back(std::move(script));
        else HF_DO(end(script, result));
    }
    return HF_DONE;
}

hf_error defer(Script &script) {
    if (script.deferred) return HF_OK;
    hf_deferred deferred;
    const hf_error error = hf_defer(&deferred);
    if (!error) script.deferred = deferred;
    return error;
}

hf_error wait(Script &script, const std::string &milliseconds, Pause pause) {
    if (hf_error error = defer(script)) return error;
    if (hf_error error = hf_resume_after(static_cast<uint64_t>(number(milliseconds)), true, &script.until)) return error;
    if (pause == Pause::until_exclusive) hf_exclusive(true);
    script.pause = pause;
    script.answers += "ok\n";
    return HF_OK;
}

hf_error on_gone(Script &script, const std::string &key) {
    if (hf_error error = defer(script)) return error;
    hf_token token;
    if (hf_error error = hf_on_gone(*script.deferred, &token)) return error;
    script.gone = token;
    script.gone_key = key;
    return HF_OK;
}

// Lets the scripts go on that wait for a topic, and returns their number.
size_t tell(const std::string &topic, const std::string &told) {
    size_t count = 0;
    for (auto at = waiting.begin(); at != waiting.end();) {
        if (at->pause != Pause::told || at->topic != topic) {
            ++at;
            continue;
        }
        at->pause = Pause::none;
        at->answers += encode(told) + '\n';
        ready.push_back(std::move(*at));
        at = waiting.erase(at);
        count++;
    }
    return count;
}

hf_error later(std::string_view line, const std::vector<std::string> &words) {
    // What follows three words, as it was sent.
    for (int i = 0; i < 3; i++) line.remove_prefix(std::min(line.find(' '), line.size() - 1) + 1);
    Timer &timer = timers[words[2]];
    timer.command = line;
    return hf_put_off(&timer.debounce, static_cast<uint64_t>(number(words[1])));
}

bool cancel(const std::string &name) {
    const auto timer = timers.find(name);
    if (timer == timers.end()) return false;
    const bool was_set = hf_cancel_debounce(&timer->second.debounce);
    timers.erase(timer);
    return was_set;
}

hf_result resume_one(hf_token token) {
    for (auto at = waiting.begin(); at != waiting.end(); ++at) {
        const bool is_due = (at->pause == Pause::until || at->pause == Pause::until_exclusive) && at->until == token;
        if (!is_due && at->gone != token) continue;
        Script script = std::move(*at);
        waiting.erase(at);
        if (!is_due) {
            HF_TRY(hf_put(script.gone_key.c_str(), bytes("gone")));
            return HF_DONE;
        }
        if (script.pause == Pause::until_exclusive) hf_exclusive(false);
        script.pause = Pause::none;
        ready.push_back(std::move(script));
        return HF_DONE;
    }
    for (auto at = timers.begin(); at != timers.end(); ++at) {
        if (!hf_is_due(&at->second.debounce, &token, 1)) continue;
        const std::string command = std::move(at->second.command);
        timers.erase(at);
        std::string unused;
        if (run_command(command, {}, unused) != HF_DONE) hf_log(HF_ERROR, "%s has failed", command.c_str());
        return HF_DONE;
    }
    return HF_DONE;
}

} // namespace

hf_result begin(Script script, std::string *answers) {
    HF_DO(run(script));
    if (script.pause != Pause::none) waiting.push_back(std::move(script));
    else if (script.caller == Caller::request && !script.deferred) *answers = std::move(script.answers);
    else HF_DO(end(script, HF_DONE));
    return go_on();
}

bool run_late(std::string_view line, Script &script) {
    const std::vector<std::string> words = words_of(line);
    const auto is = [&](std::string_view name, size_t count) { return words[0] == name && words.size() >= count; };
    hf_error error = HF_OK;
    if (is("wait", 2)) {
        error = wait(script, words[1], Pause::until);
    } else if (is("wait-exclusive", 2)) {
        error = wait(script, words[1], Pause::until_exclusive);
    } else if (is("wait-for", 2)) {
        if (!(error = defer(script))) script.pause = Pause::told, script.topic = words[1];
    } else if (is("tell", 3)) {
        script.answers += std::to_string(tell(words[1], words[2])) + '\n';
    } else if (is("later", 4)) {
        if (!(error = later(line, words))) script.answers += "ok\n";
    } else if (is("cancel", 2)) {
        script.answers += cancel(words[1]) ? "true\n" : "false\n";
    } else if (is("on-gone", 2)) {
        if (!(error = on_gone(script, words[1]))) script.answers += "ok\n";
    } else {
        return false;
    }
    if (error) script.answers += refusal(error) + '\n';
    return true;
}

hf_result resume(const hf_token tokens[], size_t count) {
    for (size_t i = 0; i < count; i++) HF_DO(resume_one(tokens[i]));
    return go_on();
}
