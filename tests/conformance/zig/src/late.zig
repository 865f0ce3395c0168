//! Scripts that wait, and commands that are run later.
const std = @import("std");
const h = @import("holdfast");

const main = @import("main.zig");
const script_ = @import("script.zig");
const turn = @import("turn.zig");
const words = @import("words.zig");

const About = script_.About;
const Script = script_.Script;

/// The memory of the instance.
pub const allocator = std.heap.c_allocator;

/// Who waits for the end of a script. An upgrade has the path of what it accepts.
pub const Caller = union(enum) { request, event, upgrade: []const u8 };

/// What a script waits for, and who waits for it.
pub const Waits = struct {
    text: []const u8,
    caller: Caller,
    deferred: ?h.hf_deferred = null,
    pause: union(enum) { none, until: h.hf_token, until_exclusive: h.hf_token, told: []const u8 } = .none,
    /// Comes when the client has gone, which is then stored under the key.
    gone: ?h.hf_token = null,
    gone_key: [:0]const u8 = "",
};

/// A command that is to be run.
const Timer = struct { debounce: h.hf_debounce = .{}, command: []const u8 = "" };

var waiting: std.ArrayList(*Script) = .empty;
/// These go on when the script that runs has ended, or waits.
var ready: std.ArrayList(*Script) = .empty;
var timers: std.StringArrayHashMapUnmanaged(Timer) = .empty;

/// Runs a script and answers its caller, now or in a later turn. Returns the answers to a request of this turn.
pub fn begin(text: []const u8, about: About, caller: Caller) !?[]const u8 {
    const kept = try allocator.dupe(u8, text);
    const script = try allocator.create(Script);
    script.* = .{
        .about = about,
        .lines = std.mem.tokenizeScalar(u8, kept, '\n'),
        .answers = .init(allocator),
        .waits = .{ .text = kept, .caller = caller },
    };
    script.run() catch |err| {
        free(script);
        return err;
    };
    var answers: ?[]const u8 = null;
    if (script.waits.pause != .none) {
        try waiting.append(allocator, script);
    } else if (caller == .request and script.waits.deferred == null) {
        answers = try turn.allocator.dupe(u8, script.answers.written());
        free(script);
    } else {
        try end(script, {});
    }
    try goOn();
    return answers;
}

fn free(script: *Script) void {
    script.answers.deinit();
    allocator.free(script.waits.text);
    if (script.waits.caller == .upgrade) allocator.free(script.waits.caller.upgrade);
    if (script.waits.gone != null) allocator.free(script.waits.gone_key);
    allocator.destroy(script);
}

fn goOn() !void {
    while (ready.items.len > 0) {
        const script = ready.orderedRemove(0);
        if (script.run()) {
            if (script.waits.pause != .none) {
                try waiting.append(allocator, script);
                continue;
            }
            try end(script, {});
        } else |err| {
            try end(script, err);
        }
    }
}

/// Answers the caller of a script, unless it has gone.
fn end(script: *Script, ended: anyerror!void) !void {
    defer free(script);
    if (script.waits.gone) |token| _ = h.hf_cancel(token);
    // Sets the failure that the caller gets.
    const failed = turn.result(ended) != h.HF_DONE;
    const refused = if (failed) h.hf_reply_failed(script.waits.deferred.?) else try answer(script);
    if (refused != h.HF_GONE) try turn.check(refused);
}

fn answer(script: *Script) !h.hf_error {
    const answers = words.bytes(script.answers.written());
    var response: h.hf_response = .{ .status = 200 };
    switch (script.waits.caller) {
        .request => _ = response.bytes(200, "text/plain", answers),
        .upgrade => |path| _ = try main.accept(path, script.waits.deferred, &response),
        .event => {
            if (script.about.socket) |socket| try turn.check(h.hf_send(socket, .{ .is_binary = false, .data = answers }));
            return if (script.waits.deferred) |deferred| h.hf_reply_done(deferred) else h.HF_OK;
        },
    }
    return h.hf_reply(script.waits.deferred.?, &response);
}

/// Runs a command of late work. Returns whether it is one.
pub fn run(script: *Script, line: []const u8) script_.Error!bool {
    var rest = std.mem.splitScalar(u8, line, ' ');
    const name = rest.first();
    const known = std.meta.stringToEnum(Command, name) orelse return false;
    const out = &script.answers.writer;
    command(script, known, &rest, out) catch |err| switch (err) {
        error.Refused => try out.print("error {s}\n", .{std.mem.span(h.hf_error_name(h.hf_last_error().@"error"))}),
        else => return err,
    };
    return true;
}

const Command = enum { wait, @"wait-for", @"wait-exclusive", tell, later, cancel, @"on-gone" };
const Rest = std.mem.SplitIterator(u8, .scalar);

fn command(script: *Script, known: Command, rest: *Rest, out: *std.Io.Writer) script_.Error!void {
    switch (known) {
        .wait => script.waits.pause = .{ .until = try wait(script, rest) },
        .@"wait-exclusive" => {
            const token = try wait(script, rest);
            h.hf_exclusive(true);
            script.waits.pause = .{ .until_exclusive = token };
        },
        .@"wait-for" => {
            try deferAnswer(script);
            script.waits.pause = .{ .told = try allocator.dupe(u8, try word(rest)) };
            return;
        },
        .tell => return out.print("{d}\n", .{try tell(try word(rest), try word(rest))}),
        .later => {
            const milliseconds = try number(rest);
            const timer = try timers.getOrPut(allocator, try allocator.dupe(u8, try word(rest)));
            if (!timer.found_existing) timer.value_ptr.* = .{};
            timer.value_ptr.command = try allocator.dupe(u8, rest.rest());
            try turn.check(h.hf_put_off(&timer.value_ptr.debounce, milliseconds));
        },
        .cancel => {
            const timer = timers.getPtr(try word(rest));
            return out.print("{}\n", .{timer != null and h.hf_cancel_debounce(&timer.?.debounce)});
        },
        .@"on-gone" => {
            try deferAnswer(script);
            var token: h.hf_token = undefined;
            try turn.check(h.hf_on_gone(script.waits.deferred.?, &token));
            script.waits.gone_key = try std.fmt.allocPrintSentinel(allocator, "{s}", .{try word(rest)}, 0);
            script.waits.gone = token;
        },
    }
    try out.writeAll("ok\n");
}

fn word(rest: *Rest) script_.Error![]const u8 {
    return words.slice(h.hf_decode(words.text(rest.next() orelse return error.BadScript)));
}

fn number(rest: *Rest) script_.Error!u64 {
    return std.fmt.parseInt(u64, try word(rest), 10);
}

fn deferAnswer(script: *Script) script_.Error!void {
    if (script.waits.deferred != null) return;
    var deferred: h.hf_deferred = undefined;
    try turn.check(h.hf_defer(&deferred));
    script.waits.deferred = deferred;
}

fn wait(script: *Script, rest: *Rest) script_.Error!h.hf_token {
    const milliseconds = try number(rest);
    try deferAnswer(script);
    var token: h.hf_token = undefined;
    try turn.check(h.hf_resume_after(milliseconds, true, &token));
    return token;
}

/// Lets the scripts go on that wait for a topic, and returns their number.
fn tell(topic: []const u8, told: []const u8) script_.Error!usize {
    var count: usize = 0;
    var at: usize = 0;
    while (at < waiting.items.len) {
        const script = waiting.items[at];
        if (script.waits.pause != .told or !std.mem.eql(u8, script.waits.pause.told, topic)) {
            at += 1;
            continue;
        }
        _ = waiting.orderedRemove(at);
        script.waits.pause = .none;
        try script.answers.writer.print("{f}\n", .{words.encoded(told)});
        try ready.append(allocator, script);
        count += 1;
    }
    return count;
}

/// Resumes what is due.
pub fn resumeAll(tokens: []const h.hf_token) !void {
    for (tokens) |token| try resumeOne(token);
    try goOn();
}

fn resumeOne(token: h.hf_token) !void {
    for (waiting.items, 0..) |script, at| {
        const waits = &script.waits;
        const is_due = switch (waits.pause) {
            .until, .until_exclusive => |until| until == token,
            else => false,
        };
        if (!is_due and waits.gone != token) continue;
        _ = waiting.orderedRemove(at);
        if (!is_due) {
            defer free(script);
            return turn.check(h.hf_put(waits.gone_key.ptr, words.bytes("gone")));
        }
        if (waits.pause == .until_exclusive) h.hf_exclusive(false);
        waits.pause = .none;
        return ready.append(allocator, script);
    }
    for (timers.values()) |*timer| {
        if (!h.hf_is_due(&timer.debounce, &token, 1)) continue;
        var script: Script = .{
            .about = .{},
            .lines = std.mem.tokenizeScalar(u8, "", '\n'),
            .answers = .init(turn.allocator),
            .waits = .{ .text = "", .caller = .event },
        };
        script.runCommand(timer.command, &script.answers.writer) catch
            h.hf_log(h.HF_ERROR, "%.*s has failed", @as(c_int, @intCast(timer.command.len)), timer.command.ptr);
        return;
    }
}
