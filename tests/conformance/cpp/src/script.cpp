// The commands of scripts, and what runs them.
#include "script.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <random>
#include <variant>
#include <vector>

#include "words.h"

namespace {

// The answer to a line, or a refusal of the host, or the failure of the turn.
using Answer = std::variant<std::string, hf_error, hf_result>;
using Words = std::vector<std::string>;

Answer ok(hf_error error) { return error ? Answer(error) : Answer("ok"); }

// ---- Identity, memory, the environment ----

Answer id(const Words &, const About &) { return encode(hf_id()); }
Answer name(const Words &, const About &) { return option(hf_bytes_of(hf_name())); }
Answer class_name(const Words &, const About &) { return encode(hf_class()); }

Answer count(const Words &, const About &) {
    static uint64_t counter = 0;
    return std::to_string(++counter);
}

Answer now(const Words &, const About &) {
    using namespace std::chrono;
    return std::to_string(duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count());
}

Answer random(const Words &, const About &) {
    static std::mt19937_64 generator{std::random_device{}()};
    const uint64_t first = generator();
    return std::to_string(first) + ' ' + std::to_string(generator());
}

// ---- Keys and values ----

Answer get(const Words &words, const About &) {
    hf_bytes value{};
    if (hf_error error = hf_get(words[1].c_str(), &value)) return error;
    return option(value);
}

Answer put(const Words &words, const About &) { return ok(hf_put(words[1].c_str(), bytes(words[2]))); }

Answer remove(const Words &words, const About &) {
    bool existed = false;
    if (hf_error error = hf_delete(words[1].c_str(), &existed)) return error;
    return existed ? "true" : "false";
}

Answer get_many(const Words &words, const About &) {
    const auto keys = c_strings(words, 1);
    hf_entries found{};
    if (hf_error error = hf_get_many(keys.data(), keys.size(), &found)) return error;
    std::string answer;
    for (size_t i = 0; i < found.size; i++) answer += (i ? " " : "") + entry(found.data[i]);
    return answer;
}

Answer put_many(const Words &words, const About &) {
    std::vector<hf_entry> entries;
    for (size_t i = 1; i + 1 < words.size(); i += 2) entries.push_back({text(words[i]), bytes(words[i + 1])});
    return ok(hf_put_many(entries.data(), entries.size()));
}

Answer delete_many(const Words &words, const About &) {
    const auto keys = c_strings(words, 1);
    uint32_t existed = 0;
    if (hf_error error = hf_delete_many(keys.data(), keys.size(), &existed)) return error;
    return std::to_string(existed);
}

Answer list(const Words &words, const About &) {
    hf_list_options options{};
    for (size_t i = 1; i < words.size(); i++) {
        const size_t equals = words[i].find('=');
        const std::string_view option = std::string_view(words[i]).substr(0, equals);
        const char *value = equals == std::string::npos ? "" : words[i].c_str() + equals + 1;
        if (option == "start") options.start = value;
        if (option == "start-after") options.start_after = value;
        if (option == "end") options.end = value;
        if (option == "prefix") options.prefix = value;
        if (option == "reverse") options.reverse = true;
        if (option == "limit") options.limited = true, options.limit = static_cast<uint32_t>(number(value));
    }
    hf_listing listing;
    if (hf_error error = hf_list(&options, &listing)) return error;
    std::string answer;
    while (hf_next_entry(&listing)) answer += (answer.empty() ? "" : " ") + entry(listing.entry);
    if (listing.error) return listing.error;
    return answer;
}

// ---- SQL ----

hf_error execute(const Words &words, hf_rows &rows) {
    std::vector<hf_value> values;
    std::transform(words.begin() + 2, words.end(), std::back_inserter(values), value);
    return hf_sql_values(&rows, words[1].c_str(), values.data(), values.size());
}

Answer sql(const Words &words, const About &) {
    hf_rows rows;
    if (hf_error error = execute(words, rows)) return error;
    std::string answer = std::to_string(rows.column_count);
    for (size_t i = 0; i < rows.column_count; i++) answer += ' ' + encode(rows.columns[i]);
    while (hf_next(&rows))
        for (size_t i = 0; i < rows.column_count; i++) answer += ' ' + shown(rows.row[i]);
    if (rows.error) return rows.error;
    return answer;
}

Answer sql_changes(const Words &words, const About &) {
    hf_rows rows;
    if (hf_error error = execute(words, rows)) return error;
    return std::to_string(rows.changes) + ' ' + std::to_string(rows.last_insert_rowid);
}

Answer sql_sum(const Words &words, const About &) {
    hf_rows rows;
    if (hf_error error = execute(words, rows)) return error;
    int64_t read = 0, sum = 0;
    while (hf_next(&rows)) read++, sum += rows.row[0].integer;
    if (rows.error) return rows.error;
    return std::to_string(read) + ' ' + std::to_string(sum);
}

// ---- Storage as a whole, the alarm ----

Answer size(const Words &, const About &) {
    uint64_t size = 0;
    if (hf_error error = hf_size(&size)) return error;
    return std::to_string(size);
}

Answer delete_all(const Words &, const About &) { return ok(hf_delete_all()); }
Answer sync(const Words &, const About &) { return ok(hf_sync()); }

Answer alarm_get(const Words &, const About &) {
    uint64_t time = 0;
    if (hf_error error = hf_alarm(&time)) return error;
    return time ? "some " + std::to_string(time) : "none";
}

Answer alarm_set(const Words &words, const About &) { return ok(hf_set_alarm(static_cast<uint64_t>(number(words[1])))); }
Answer alarm_delete(const Words &, const About &) { return ok(hf_delete_alarm()); }

// ---- WebSockets ----

// `@`, or the oldest with a tag.
hf_error find(const std::string &which, const About &about, hf_socket &socket) {
    if (which == "@") {
        socket = about.socket.value_or(0);
        return about.socket ? HF_OK : HF_UNKNOWN_SOCKET;
    }
    const hf_sockets open = hf_open_sockets(which.c_str());
    if (!open.size) return HF_UNKNOWN_SOCKET;
    socket = open.data[0];
    return HF_OK;
}

Answer sockets(const Words &words, const About &) {
    return std::to_string(hf_open_sockets(words.size() > 1 ? words[1].c_str() : nullptr).size);
}

Answer tags(const Words &words, const About &about) {
    hf_socket socket;
    hf_texts tags{};
    if (hf_error error = find(words[1], about, socket)) return error;
    if (hf_error error = hf_tags(socket, &tags)) return error;
    std::string answer;
    for (size_t i = 0; i < tags.size; i++) answer += (i ? " " : "") + encode(tags.data[i]);
    return answer;
}

Answer attach(const Words &words, const About &about) {
    hf_socket socket;
    if (hf_error error = find(words[1], about, socket)) return error;
    return ok(hf_attach(socket, bytes(words[2])));
}

Answer attachment(const Words &words, const About &about) {
    hf_socket socket;
    hf_bytes attached{};
    if (hf_error error = find(words[1], about, socket)) return error;
    if (hf_error error = hf_attachment(socket, &attached)) return error;
    return option(attached);
}

Answer send(const Words &words, const About &about) {
    hf_socket socket;
    if (hf_error error = find(words[1], about, socket)) return error;
    return ok(hf_send(socket, message(words[2])));
}

Answer broadcast(const Words &words, const About &) {
    uint32_t reached = 0;
    if (hf_error error = hf_broadcast(words.size() > 2 ? words[2].c_str() : nullptr, message(words[1]), &reached)) return error;
    return std::to_string(reached);
}

Answer close(const Words &words, const About &about) {
    hf_socket socket;
    if (hf_error error = find(words[1], about, socket)) return error;
    return ok(hf_close(socket, static_cast<uint16_t>(number(words[2])), words[3].c_str()));
}

Answer auto_response(const Words &words, const About &) {
    const bool is_set = words.size() > 2;
    return ok(hf_set_auto_response(is_set ? words[1].c_str() : nullptr, is_set ? words[2].c_str() : nullptr));
}

// ---- Failing, the log ----

Answer fail(const Words &words, const About &) {
    const auto failing = words[3] == "true" ? hf_fail_retryable : hf_fail;
    return failing(words[1].c_str(), "%s", words[2].c_str());
}

Answer fail_before(const Words &words, const About &about) {
    if (about.retry_count && *about.retry_count < number(words[1])) return hf_fail("too-early", "not yet");
    return "ok";
}

[[gnu::noinline]] void throw_deeper(const std::string &message) { hf_panic("%s", message.c_str()); }

Answer throw_it(const Words &words, const About &) {
    throw_deeper(words[1]);
    return "ok";
}

Answer log(const Words &words, const About &) {
    static constexpr std::string_view LEVELS[] = {"trace", "debug", "info", "warn", "error"};
    const auto level = std::find(std::begin(LEVELS), std::end(LEVELS), words[1]) - std::begin(LEVELS);
    std::vector<hf_field> fields;
    for (size_t i = 3; i + 1 < words.size(); i += 2) fields.push_back({text(words[i]), text(words[i + 1])});
    hf_log_fields(static_cast<hf_level>(level), text(words[2]), fields.data(), fields.size());
    return "ok";
}

Answer print(const Words &words, const About &) {
    std::cout << words[1] << '\n';
    return "ok";
}

Answer print_error(const Words &words, const About &) {
    std::cerr << words[1] << '\n';
    return "ok";
}

// ---- Lines ----

struct Command {
    std::string_view name;
    size_t least_words;
    Answer (*run)(const Words &words, const About &about);
};

constexpr Command COMMANDS[] = {
    {"id", 1, id}, {"name", 1, name}, {"class", 1, class_name}, {"count", 1, count}, {"now", 1, now}, {"random", 1, random},
    {"get", 2, get}, {"put", 3, put}, {"delete", 2, remove}, {"get-many", 1, get_many}, {"put-many", 1, put_many},
    {"delete-many", 1, delete_many}, {"list", 1, list}, {"sql", 2, sql}, {"sql-changes", 2, sql_changes},
    {"sql-sum", 2, sql_sum}, {"size", 1, size}, {"delete-all", 1, delete_all}, {"sync", 1, sync}, {"alarm-get", 1, alarm_get},
    {"alarm-set", 2, alarm_set}, {"alarm-delete", 1, alarm_delete}, {"sockets", 1, sockets}, {"tags", 2, tags},
    {"attach", 3, attach}, {"attachment", 2, attachment}, {"send", 3, send}, {"broadcast", 2, broadcast}, {"close", 4, close},
    {"auto-response", 1, auto_response}, {"fail", 4, fail}, {"fail-before", 2, fail_before}, {"throw", 2, throw_it},
    {"log", 3, log}, {"print", 2, print}, {"print-error", 2, print_error},
};

hf_result bad_script(std::string_view line) { return hf_fail("bad-script", "%s", std::string(line).c_str()); }

} // namespace

hf_result run_command(std::string_view line, const About &about, std::string &answers) {
    constexpr std::string_view UNCAUGHT = "uncaught ";
    const bool is_caught = line.substr(0, UNCAUGHT.size()) != UNCAUGHT;
    if (!is_caught) line.remove_prefix(UNCAUGHT.size());
    const Words words = words_of(line);
    const auto is_it = [&](const Command &command) { return command.name == words[0]; };
    const auto command = std::find_if(std::begin(COMMANDS), std::end(COMMANDS), is_it);
    if (command == std::end(COMMANDS) || words.size() < command->least_words) return bad_script(line);
    const Answer answer = command->run(words, about);
    if (const auto *failed = std::get_if<hf_result>(&answer)) return *failed;
    if (const auto *said = std::get_if<std::string>(&answer)) answers += *said;
    else if (is_caught) answers += refusal(std::get<hf_error>(answer));
    else return hf_fail_last();
    answers += '\n';
    return HF_DONE;
}

namespace {

// Undone unless it is kept, also when an error leaves its scope.
class Transaction {
public:
    Transaction() : refused_(hf_begin(&savepoint_)), is_open_(!refused_) {}
    Transaction(const Transaction &) = delete;
    Transaction &operator=(const Transaction &) = delete;
    ~Transaction() {
        if (is_open_) hf_undo(savepoint_);
    }

    // The reason why there is no answer.
    hf_error refused() const { return refused_; }
    hf_error keep() {
        is_open_ = false;
        return hf_keep(savepoint_);
    }

private:
    hf_savepoint savepoint_{};
    hf_error refused_;
    bool is_open_;
};

// Takes the next line off a script, if there is one.
std::optional<std::string> next_line(Script &script) {
    const size_t start = script.lines.find_first_not_of('\n');
    if (start == std::string::npos) return std::nullopt;
    const size_t end = std::min(script.lines.find('\n', start), script.lines.size());
    std::string line = script.lines.substr(start, end - start);
    script.lines.erase(0, end);
    return line;
}

// Runs a line; one that begins a transaction with all lines up to its end.
hf_result run_line(const std::string &line, Script &script) {
    const bool keep = line == "transaction keep";
    if (!keep && line != "transaction undo") return run_command(line, script.about, script.answers);
    Transaction transaction;
    HF_TRY(transaction.refused());
    auto next = next_line(script);
    for (; next && *next != "end"; next = next_line(script)) HF_DO(run_line(*next, script));
    if (!next) return bad_script("a transaction has no end");
    if (keep) HF_TRY(transaction.keep());
    script.answers += keep ? "kept\n" : "undone\n";
    return HF_DONE;
}

} // namespace

hf_result run(Script &script) {
    while (script.pause == Pause::none) {
        const auto line = next_line(script);
        if (!line) break;
        if (!run_late(*line, script)) HF_DO(run_line(*line, script));
    }
    return HF_DONE;
}
