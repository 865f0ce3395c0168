//! Scripts: the operations that the class runs.
const std = @import("std");
const h = @import("holdfast");

const turn = @import("turn.zig");
const late = @import("late.zig");
const words = @import("words.zig");

const Words = []const [:0]const u8;
pub const Error = turn.Error || error{ UnknownSocket, BadScript, Overflow, InvalidCharacter } ||
    std.mem.Allocator.Error || std.Io.Writer.Error;

/// The event of a turn, as far as scripts need it.
pub const About = struct {
    socket: ?h.hf_socket = null,
    /// Of an alarm.
    retry_count: ?u32 = null,
};

/// Standard output, the clock and randomness.
const io = std.Io.Threaded.global_single_threaded.io();

/// The object's memory.
var counter: u64 = 0;

/// A script that has begun. Its memory is that of the instance: it may outlive its turn.
pub const Script = struct {
    about: About,
    lines: std.mem.TokenIterator(u8, .scalar),
    answers: std.Io.Writer.Allocating,
    waits: late.Waits,

    /// Runs it to its end, or until it waits.
    pub fn run(script: *Script) Error!void {
        while (script.waits.pause == .none) {
            const line = script.lines.next() orelse return;
            if (!try late.run(script, line)) try script.runLine(line);
        }
    }

    fn runLine(script: *Script, line: []const u8) Error!void {
        if (std.mem.eql(u8, line, "transaction keep")) return script.transaction(true);
        if (std.mem.eql(u8, line, "transaction undo")) return script.transaction(false);
        const out = &script.answers.writer;
        const before = out.end;
        const uncaught = "uncaught ";
        if (std.mem.startsWith(u8, line, uncaught)) {
            try script.runCommand(line[uncaught.len..], out);
            return out.writeByte('\n');
        }
        script.runCommand(line, out) catch |err| {
            const refusal = switch (err) {
                error.Refused => h.hf_last_error(),
                error.UnknownSocket => h.hf_refusal{ .@"error" = h.HF_UNKNOWN_SOCKET },
                error.BadScript, error.InvalidCharacter, error.Overflow => {
                    return turn.fail(h.hf_fail("bad-script", "%.*s", @as(c_int, @intCast(line.len)), line.ptr));
                },
                else => return err,
            };
            out.end = before;
            try out.print("error {s}", .{std.mem.span(h.hf_error_name(refusal.@"error"))});
            if (refusal.@"error" == h.HF_CONSTRAINT or refusal.@"error" == h.HF_SQLITE)
                try out.print(" {d} {f}", .{ refusal.code, words.encoded(words.slice(refusal.message)) });
        };
        try out.writeByte('\n');
    }

    pub fn runCommand(script: *Script, line: []const u8, out: *std.Io.Writer) Error!void {
        var all: std.ArrayList([:0]const u8) = .empty;
        var parts = std.mem.splitScalar(u8, line, ' ');
        while (parts.next()) |part| try all.append(turn.allocator, words.decoded(part));
        const command = commands.get(all.items[0]) orelse return error.BadScript;
        const arguments = all.items[1..];
        if (arguments.len < command.least) return error.BadScript;
        switch (command.run) {
            .answers => |run_it| try run_it(out, arguments, script.about),
            .is_ok => |run_it| {
                try run_it(arguments, script.about);
                try out.writeAll("ok");
            },
        }
    }

    /// Runs the lines up to its `end`; undone if it is not kept, and when it fails.
    fn transaction(script: *Script, keep: bool) Error!void {
        var savepoint: h.hf_savepoint = undefined;
        try turn.check(h.hf_begin(&savepoint));
        {
            errdefer _ = savepoint.undo();
            while (true) {
                const line = script.lines.next() orelse return error.BadScript;
                if (std.mem.eql(u8, line, "end")) break;
                try script.runLine(line);
            }
        }
        try turn.check(if (keep) savepoint.keep() else savepoint.undo());
        try script.answers.writer.writeAll(if (keep) "kept\n" else "undone\n");
    }
};

const Command = struct {
    /// How many words it has at least.
    least: usize,
    run: union(enum) {
        answers: *const fn (out: *std.Io.Writer, arguments: Words, about: About) Error!void,
        is_ok: *const fn (arguments: Words, about: About) Error!void,
    },
};

const commands = std.StaticStringMap(Command).initComptime(.{
    .{ "id", Command{ .least = 0, .run = .{ .answers = id } } },
    .{ "name", Command{ .least = 0, .run = .{ .answers = name } } },
    .{ "class", Command{ .least = 0, .run = .{ .answers = class } } },
    .{ "count", Command{ .least = 0, .run = .{ .answers = count } } },
    .{ "now", Command{ .least = 0, .run = .{ .answers = now } } },
    .{ "random", Command{ .least = 0, .run = .{ .answers = random } } },
    .{ "get", Command{ .least = 1, .run = .{ .answers = get } } },
    .{ "put", Command{ .least = 2, .run = .{ .is_ok = put } } },
    .{ "delete", Command{ .least = 1, .run = .{ .answers = delete } } },
    .{ "get-many", Command{ .least = 0, .run = .{ .answers = getMany } } },
    .{ "put-many", Command{ .least = 0, .run = .{ .is_ok = putMany } } },
    .{ "delete-many", Command{ .least = 0, .run = .{ .answers = deleteMany } } },
    .{ "list", Command{ .least = 0, .run = .{ .answers = list } } },
    .{ "sql", Command{ .least = 1, .run = .{ .answers = sql } } },
    .{ "sql-changes", Command{ .least = 1, .run = .{ .answers = sqlChanges } } },
    .{ "sql-sum", Command{ .least = 1, .run = .{ .answers = sqlSum } } },
    .{ "size", Command{ .least = 0, .run = .{ .answers = size } } },
    .{ "delete-all", Command{ .least = 0, .run = .{ .is_ok = deleteAll } } },
    .{ "sync", Command{ .least = 0, .run = .{ .is_ok = sync } } },
    .{ "alarm-get", Command{ .least = 0, .run = .{ .answers = alarmGet } } },
    .{ "alarm-set", Command{ .least = 1, .run = .{ .is_ok = alarmSet } } },
    .{ "alarm-delete", Command{ .least = 0, .run = .{ .is_ok = alarmDelete } } },
    .{ "sockets", Command{ .least = 0, .run = .{ .answers = sockets } } },
    .{ "tags", Command{ .least = 1, .run = .{ .answers = tags } } },
    .{ "attach", Command{ .least = 2, .run = .{ .is_ok = attach } } },
    .{ "attachment", Command{ .least = 1, .run = .{ .answers = attachment } } },
    .{ "send", Command{ .least = 2, .run = .{ .is_ok = send } } },
    .{ "broadcast", Command{ .least = 1, .run = .{ .answers = broadcast } } },
    .{ "close", Command{ .least = 3, .run = .{ .is_ok = close } } },
    .{ "auto-response", Command{ .least = 0, .run = .{ .is_ok = autoResponse } } },
    .{ "fail", Command{ .least = 3, .run = .{ .is_ok = fail } } },
    .{ "fail-before", Command{ .least = 1, .run = .{ .is_ok = failBefore } } },
    .{ "throw", Command{ .least = 1, .run = .{ .is_ok = throw } } },
    .{ "log", Command{ .least = 2, .run = .{ .is_ok = log } } },
    .{ "print", Command{ .least = 1, .run = .{ .is_ok = print } } },
    .{ "print-error", Command{ .least = 1, .run = .{ .is_ok = printError } } },
});

// Identity, memory, the environment.

fn id(out: *std.Io.Writer, _: Words, _: About) Error!void {
    try out.writeAll(words.slice(h.hf_id()));
}

fn name(out: *std.Io.Writer, _: Words, _: About) Error!void {
    try words.writeOption(out, h.hf_name());
}

fn class(out: *std.Io.Writer, _: Words, _: About) Error!void {
    try out.print("{f}", .{words.encoded(words.slice(h.hf_class()))});
}

fn count(out: *std.Io.Writer, _: Words, _: About) Error!void {
    counter += 1;
    try out.print("{d}", .{counter});
}

fn now(out: *std.Io.Writer, _: Words, _: About) Error!void {
    try out.print("{d}", .{std.Io.Clock.real.now(io).toMilliseconds()});
}

fn random(out: *std.Io.Writer, _: Words, _: About) Error!void {
    var source: std.Random.IoSource = .{ .io = io };
    const generator = source.interface();
    try out.print("{d} {d}", .{ generator.int(u64), generator.int(u64) });
}

// Keys and values.

fn get(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    var found: h.hf_bytes = undefined;
    try turn.check(h.hf_get(arguments[0].ptr, &found));
    try words.writeOption(out, found);
}

fn put(arguments: Words, _: About) Error!void {
    try turn.check(h.hf_put(arguments[0].ptr, words.bytes(arguments[1])));
}

fn delete(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    var existed: bool = undefined;
    try turn.check(h.hf_delete(arguments[0].ptr, &existed));
    try out.print("{}", .{existed});
}

fn getMany(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    const keys = try cStrings(arguments);
    var found: h.hf_entries = undefined;
    try turn.check(h.hf_get_many(keys.ptr, keys.len, &found));
    try words.writeEntries(out, found.data[0..found.size]);
}

fn putMany(arguments: Words, _: About) Error!void {
    const entries = try turn.allocator.alloc(h.hf_entry, arguments.len / 2);
    for (entries, 0..) |*entry, i|
        entry.* = .{ .key = words.text(arguments[2 * i]), .value = words.bytes(arguments[2 * i + 1]) };
    try turn.check(h.hf_put_many(entries.ptr, entries.len));
}

fn deleteMany(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    const keys = try cStrings(arguments);
    var existed: u32 = undefined;
    try turn.check(h.hf_delete_many(keys.ptr, keys.len, &existed));
    try out.print("{d}", .{existed});
}

fn cStrings(texts: Words) Error![]const [*c]const u8 {
    const strings = try turn.allocator.alloc([*c]const u8, texts.len);
    for (strings, texts) |*string, text| string.* = text.ptr;
    return strings;
}

fn list(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    var options: h.hf_list_options = .{};
    for (arguments) |argument| {
        const equals = std.mem.findScalar(u8, argument, '=') orelse argument.len;
        const value = argument[@min(equals + 1, argument.len)..];
        const Option = enum { start, @"start-after", end, prefix, reverse, limit };
        switch (std.meta.stringToEnum(Option, argument[0..equals]) orelse return error.BadScript) {
            .start => options.start = value.ptr,
            .@"start-after" => options.start_after = value.ptr,
            .end => options.end = value.ptr,
            .prefix => options.prefix = value.ptr,
            .reverse => options.reverse = true,
            .limit => {
                options.limited = true;
                options.limit = try std.fmt.parseInt(u32, value, 10);
            },
        }
    }
    var listing: h.hf_listing = undefined;
    try turn.check(h.hf_list(&options, &listing));
    var is_first = true;
    while (h.hf_next_entry(&listing)) : (is_first = false) {
        if (!is_first) try out.writeByte(' ');
        try words.writeEntries(out, &.{listing.entry});
    }
    try turn.check(listing.@"error");
}

// SQL.

fn execute(arguments: Words) Error!h.hf_rows {
    const parameters = try turn.allocator.alloc(h.hf_value, arguments.len - 1);
    for (parameters, arguments[1..]) |*parameter, word| parameter.* = try words.sqlValue(word);
    var rows: h.hf_rows = undefined;
    try turn.check(h.hf_sql_values(&rows, arguments[0].ptr, parameters.ptr, parameters.len));
    return rows;
}

fn sql(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    var rows = try execute(arguments);
    const columns = rows.column_count;
    try out.print("{d}", .{columns});
    if (columns > 0) for (rows.columns[0..columns]) |column| try out.print(" {f}", .{words.encoded(words.slice(column))});
    while (rows.next()) for (rows.row[0..columns]) |value| {
        try out.writeByte(' ');
        try words.writeSqlValue(out, value);
    };
    try turn.check(rows.@"error");
}

fn sqlChanges(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    const rows = try execute(arguments);
    try out.print("{d} {d}", .{ rows.changes, rows.last_insert_rowid });
}

fn sqlSum(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    var rows = try execute(arguments);
    var read: u64 = 0;
    var sum: i64 = 0;
    while (rows.next()) : (read += 1) sum += rows.row[0].unnamed_0.integer;
    try turn.check(rows.@"error");
    try out.print("{d} {d}", .{ read, sum });
}

// Storage as a whole, the alarm.

fn size(out: *std.Io.Writer, _: Words, _: About) Error!void {
    var taken: u64 = undefined;
    try turn.check(h.hf_size(&taken));
    try out.print("{d}", .{taken});
}

fn deleteAll(_: Words, _: About) Error!void {
    try turn.check(h.hf_delete_all());
}

fn sync(_: Words, _: About) Error!void {
    try turn.check(h.hf_sync());
}

fn alarmGet(out: *std.Io.Writer, _: Words, _: About) Error!void {
    var time: u64 = undefined;
    try turn.check(h.hf_alarm(&time));
    if (time == 0) return out.writeAll("none");
    try out.print("some {d}", .{time});
}

fn alarmSet(arguments: Words, _: About) Error!void {
    try turn.check(h.hf_set_alarm(try std.fmt.parseInt(u64, arguments[0], 10)));
}

fn alarmDelete(_: Words, _: About) Error!void {
    try turn.check(h.hf_delete_alarm());
}

// WebSockets.

/// `@`, or the oldest with a tag.
fn find(which: [:0]const u8, about: About) Error!h.hf_socket {
    if (std.mem.eql(u8, which, "@")) return about.socket orelse error.UnknownSocket;
    const open = h.hf_open_sockets(which.ptr);
    return if (open.size == 0) error.UnknownSocket else open.data[0];
}

fn sockets(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    const tag = if (arguments.len > 0) arguments[0].ptr else null;
    try out.print("{d}", .{h.hf_open_sockets(tag).size});
}

fn tags(out: *std.Io.Writer, arguments: Words, about: About) Error!void {
    var found: h.hf_texts = undefined;
    try turn.check(h.hf_tags(try find(arguments[0], about), &found));
    for (found.data[0..found.size], 0..) |tag, i| {
        if (i > 0) try out.writeByte(' ');
        try out.print("{f}", .{words.encoded(words.slice(tag))});
    }
}

fn attach(arguments: Words, about: About) Error!void {
    try turn.check(h.hf_attach(try find(arguments[0], about), words.bytes(arguments[1])));
}

fn attachment(out: *std.Io.Writer, arguments: Words, about: About) Error!void {
    var attached: h.hf_bytes = undefined;
    try turn.check(h.hf_attachment(try find(arguments[0], about), &attached));
    try words.writeOption(out, attached);
}

fn send(arguments: Words, about: About) Error!void {
    try turn.check(h.hf_send(try find(arguments[0], about), try words.message(arguments[1])));
}

fn broadcast(out: *std.Io.Writer, arguments: Words, _: About) Error!void {
    const tag = if (arguments.len > 1) arguments[1].ptr else null;
    var reached: u32 = undefined;
    try turn.check(h.hf_broadcast(tag, try words.message(arguments[0]), &reached));
    try out.print("{d}", .{reached});
}

fn close(arguments: Words, about: About) Error!void {
    const code = try std.fmt.parseInt(u16, arguments[1], 10);
    try turn.check(h.hf_close(try find(arguments[0], about), code, arguments[2].ptr));
}

fn autoResponse(arguments: Words, _: About) Error!void {
    if (arguments.len < 2) return turn.check(h.hf_set_auto_response(null, null));
    try turn.check(h.hf_set_auto_response(arguments[0].ptr, arguments[1].ptr));
}

// Failing, the log.

fn fail(arguments: Words, _: About) Error!void {
    const retryable = std.mem.eql(u8, arguments[2], "true");
    return turn.fail(if (retryable)
        h.hf_fail_retryable(arguments[0].ptr, "%s", arguments[1].ptr)
    else
        h.hf_fail(arguments[0].ptr, "%s", arguments[1].ptr));
}

fn failBefore(arguments: Words, about: About) Error!void {
    const retry_count = about.retry_count orelse return;
    if (retry_count < try std.fmt.parseInt(u32, arguments[0], 10)) return turn.fail(h.hf_fail("too-early", "not yet"));
}

fn throw(arguments: Words, _: About) Error!void {
    throwDeeper(arguments[0]);
}

noinline fn throwDeeper(message: [:0]const u8) noreturn {
    turn.panicAt(@src(), message);
}

fn log(arguments: Words, _: About) Error!void {
    const Level = enum(h.hf_level) { trace = h.HF_TRACE, debug = h.HF_DEBUG, info = h.HF_INFO, warn = h.HF_WARN, @"error" = h.HF_ERROR };
    const level = std.meta.stringToEnum(Level, arguments[0]) orelse return error.BadScript;
    const fields = try turn.allocator.alloc(h.hf_field, (arguments.len - 2) / 2);
    for (fields, 0..) |*field, i|
        field.* = .{ .name = words.text(arguments[2 + 2 * i]), .value = words.text(arguments[3 + 2 * i]) };
    h.hf_log_fields(@backingInt(level), words.text(arguments[1]), fields.ptr, fields.len);
}

fn print(arguments: Words, _: About) Error!void {
    var buffer: [256]u8 = undefined;
    var out = std.Io.File.stdout().writerStreaming(io, &buffer);
    try out.interface.print("{s}\n", .{arguments[0]});
    try out.interface.flush();
}

fn printError(arguments: Words, _: About) Error!void {
    std.debug.print("{s}\n", .{arguments[0]});
}
