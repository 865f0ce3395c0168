//! The class of the conformance suite in Zig: docs/CONFORMANCE.md specifies it.
const std = @import("std");
const h = @import("holdfast");

const late = @import("late.zig");
const turn = @import("turn.zig");
const words = @import("words.zig");

pub const panic = std.debug.FullPanic(turn.panicked);

/// Adds a line to the recorded events.
fn note(comptime format: []const u8, arguments: anytype) !void {
    var events: h.hf_bytes = undefined;
    try turn.check(h.hf_get("events", &events));
    const all = try std.fmt.allocPrint(turn.allocator, "{s}" ++ format ++ "\n", .{words.slice(events)} ++ arguments);
    try turn.check(h.hf_put("events", words.bytes(all)));
}

fn init() !void {
    const name = words.slice(h.hf_name());
    if (std.mem.startsWith(u8, name, "init")) {
        var inits: i64 = 0;
        try turn.check(h.hf_get_int("inits", &inits, null));
        try turn.check(h.hf_put_int("inits", inits + 1));
    }
    if (std.mem.eql(u8, name, "init-fails")) return turn.fail(h.hf_fail("bad-name", "not to be made"));
}

fn fetch(request: *const h.hf_request, response: *h.hf_response) !void {
    const path = words.slice(request.path());
    if (std.mem.startsWith(u8, path, "/echo")) return echo(request, response);
    if (std.mem.cutPrefix(u8, path, "/accept/")) |rest| {
        _ = try accept(rest, null, response);
        return;
    }
    if (std.mem.cutPrefix(u8, path, "/accept-held/")) |rest| {
        if (try accept(rest, null, response)) |socket| try turn.check(h.hf_hold_for(socket));
        return;
    }
    if (std.mem.cutPrefix(u8, path, "/accept-later/")) |rest| {
        const milliseconds, const segments = std.mem.cutScalar(u8, rest, '/') orelse return error.BadPath;
        const script = try std.fmt.allocPrint(turn.allocator, "wait {s}", .{milliseconds});
        _ = try late.begin(script, .{}, .{ .upgrade = try late.allocator.dupe(u8, segments) });
        return;
    }
    if (std.mem.cutPrefix(u8, path, "/status/")) |status| {
        response.status = try std.fmt.parseInt(u16, status, 10);
        response.header("set-cookie", words.text("a=1"));
        response.header("set-cookie", words.text("b=2"));
    } else if (std.mem.eql(u8, path, "/run")) {
        const answers = try late.begin(words.slice(request.body), .{}, .request) orelse return;
        _ = response.bytes(200, "text/plain", words.bytes(answers));
    } else {
        response.status = if (std.mem.eql(u8, path, "/refuse")) 403 else 404;
    }
}

fn echo(request: *const h.hf_request, response: *h.hf_response) !void {
    response.header("x-method", request.method);
    response.header("x-uri", request.uri);
    var values: std.ArrayList([]const u8) = .empty;
    for (request.headers[0..request.header_count]) |header| {
        if (header.name.equal("x-case")) try values.append(turn.allocator, words.slice(header.value));
    }
    if (values.items.len > 0) response.header("x-case", words.text(try std.mem.join(turn.allocator, ", ", values.items)));
    _ = response.bytes(200, "application/octet-stream", request.body);
}

/// Of `<protocol>/<tag>/<tag>…`. Without `deferred` it is the request of this turn.
pub fn accept(segments: []const u8, deferred: ?h.hf_deferred, response: *h.hf_response) !?h.hf_socket {
    const protocol, const tags = try words.firstAndRest(segments, '/');
    var socket: h.hf_socket = undefined;
    const refused = if (deferred) |answer|
        h.hf_accept_deferred(answer, tags.ptr, tags.len, &socket)
    else
        h.hf_accept(tags.ptr, tags.len, &socket);
    if (refused != h.HF_OK) {
        _ = response.answer(409, "error %s\n", h.hf_error_name(refused));
        return null;
    }
    if (!std.mem.eql(u8, protocol, "-")) response.header("sec-websocket-protocol", words.text(protocol));
    response.status = 101;
    return socket;
}

fn alarm(scheduled: u64, retry_count: u32) !void {
    try note("alarm {d} {d}", .{ scheduled, retry_count });
    var script: h.hf_bytes = undefined;
    try turn.check(h.hf_get("on-alarm", &script));
    _ = try late.begin(words.slice(script), .{ .retry_count = retry_count }, .event);
}

fn message(socket: h.hf_socket, said: h.hf_message) !void {
    if (said.is_binary) return turn.check(h.hf_send(socket, said));
    _ = try late.begin(words.slice(said.data), .{ .socket = socket }, .event);
}

fn closed(code: u16, reason: []const u8, was_clean: bool) !void {
    try note("close {d} {f} {}", .{ code, words.encoded(reason), was_clean });
}

// What HF_INIT, HF_FETCH and so on are in C. The parameters are as the canonical ABI has them: addresses and lengths.

export fn @"holdfast:object/init-handler@0.2.0#init"() ?*anyopaque {
    return h.hf_end_(turn.result(init()));
}

export fn @"holdfast:object/fetch-handler@0.2.0#fetch"(
    method: [*c]const u8,
    method_size: usize,
    uri: [*c]const u8,
    uri_size: usize,
    headers: [*c]h.hf_header,
    header_count: usize,
    body: [*c]const u8,
    body_size: usize,
) ?*anyopaque {
    const request = h.hf_request_(method, method_size, uri, uri_size, headers, header_count, body, body_size);
    var response: h.hf_response = .{ .status = 200 };
    return h.hf_end_fetch_(turn.result(fetch(&request, &response)), &response);
}

export fn @"holdfast:object/alarm-handler@0.2.0#alarm"(scheduled: u64, retry_count: u32) ?*anyopaque {
    return h.hf_end_(turn.result(alarm(scheduled, retry_count)));
}

export fn @"holdfast:object/websocket-handler@0.2.0#message"(
    socket: h.hf_socket,
    is_binary: u32,
    data: [*c]const u8,
    size: usize,
) ?*anyopaque {
    const said: h.hf_message = .{ .is_binary = is_binary != 0, .data = h.hf_given_(data, size).of() };
    return h.hf_end_(turn.result(message(socket, said)));
}

export fn @"holdfast:object/websocket-handler@0.2.0#close"(
    _: h.hf_socket,
    code: u32,
    reason: [*c]const u8,
    size: usize,
    was_clean: u32,
) ?*anyopaque {
    return h.hf_end_(turn.result(closed(@intCast(code), reason[0..size], was_clean != 0)));
}

export fn @"holdfast:object/websocket-handler@0.2.0#error"(_: h.hf_socket, _: [*c]const u8, _: usize) ?*anyopaque {
    return h.hf_end_(turn.result(note("error", .{})));
}

export fn @"holdfast:object/later-handler@0.2.0#resume"(tokens: [*c]const h.hf_token, count: usize) ?*anyopaque {
    return h.hf_end_(turn.result(late.resumeAll(tokens[0..count])));
}

comptime {
    for (.{
        "init-handler@0.2.0#init",
        "fetch-handler@0.2.0#fetch",
        "alarm-handler@0.2.0#alarm",
        "websocket-handler@0.2.0#message",
        "websocket-handler@0.2.0#close",
        "websocket-handler@0.2.0#error",
        "later-handler@0.2.0#resume",
    }) |handler| @export(&freeTurn, .{ .name = "cabi_post_holdfast:object/" ++ handler });
}

fn freeTurn(result: ?*anyopaque) callconv(.c) void {
    h.hf_free_turn_(result);
}
