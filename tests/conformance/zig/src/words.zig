//! The words of scripts and answers.
const std = @import("std");
const h = @import("holdfast");

const turn = @import("turn.zig");

/// A result of the library, without a copy: it lives as long as the turn.
pub fn slice(given: anytype) []const u8 {
    return if (given.size == 0) "" else given.data[0..given.size];
}

/// An argument of the library, without a copy.
pub fn text(taken: []const u8) h.hf_text {
    return .{ .data = taken.ptr, .size = taken.len };
}

pub fn bytes(taken: []const u8) h.hf_bytes {
    return .{ .data = taken.ptr, .size = taken.len };
}

/// Percent-encoded: `print("{f}", .{encoded(value)})`.
pub fn encoded(value: []const u8) std.fmt.Alt([]const u8, encode) {
    return .{ .data = value };
}

fn encode(value: []const u8, out: *std.Io.Writer) std.Io.Writer.Error!void {
    try std.Uri.Component.percentEncode(out, value, isPlain);
}

fn isPlain(byte: u8) bool {
    return switch (byte) {
        'A'...'Z', 'a'...'z', '0'...'9', '-', '.', '_', '~' => true,
        else => false,
    };
}

/// `some <value>` or `none`.
pub fn writeOption(out: *std.Io.Writer, value: anytype) !void {
    if (value.data == null) return out.writeAll("none");
    try out.print("some {f}", .{encoded(slice(value))});
}

/// `<key> <value> <key> <value>…`
pub fn writeEntries(out: *std.Io.Writer, entries: []const h.hf_entry) !void {
    for (entries, 0..) |entry, i| {
        if (i > 0) try out.writeByte(' ');
        try out.print("{f} {f}", .{ encoded(slice(entry.key)), encoded(slice(entry.value)) });
    }
}

/// What stands before the first separator, and what stands between the others, decoded.
pub fn firstAndRest(line: []const u8, separator: u8) !struct { [:0]const u8, []const [*c]const u8 } {
    var parts = std.mem.splitScalar(u8, line, separator);
    const first = decoded(parts.first());
    var rest: std.ArrayList([*c]const u8) = .empty;
    while (parts.next()) |part| try rest.append(turn.allocator, decoded(part).ptr);
    return .{ first, rest.items };
}

pub fn decoded(word: []const u8) [:0]const u8 {
    const decoding = h.hf_decode(text(word));
    return decoding.data[0..decoding.size :0];
}

/// A value of SQL. It refers to the bytes of the word.
pub fn sqlValue(word: []const u8) !h.hf_value {
    if (word.len < 2) return h.hf_null();
    const content = word[2..];
    return switch (word[0]) {
        'i' => h.hf_int(try std.fmt.parseInt(i64, content, 10)),
        'r' => h.hf_real(@bitCast(try std.fmt.parseInt(u64, content, 16))),
        't' => h.hf_text_value(text(content)),
        'b' => h.hf_blob(bytes(content)),
        else => error.BadScript,
    };
}

pub fn writeSqlValue(out: *std.Io.Writer, shown: h.hf_value) !void {
    const content = shown.unnamed_0;
    switch (shown.type) {
        h.HF_INT => try out.print("i:{d}", .{content.integer}),
        h.HF_REAL => try out.print("r:{x:0>16}", .{@as(u64, @bitCast(content.real))}),
        h.HF_TEXT => try out.print("t:{f}", .{encoded(slice(content.text))}),
        h.HF_BLOB => try out.print("b:{f}", .{encoded(slice(content.blob))}),
        else => try out.writeByte('n'),
    }
}

/// `t:<text>` or `b:<bytes>`.
pub fn message(word: []const u8) !h.hf_message {
    if (word.len < 2) return error.BadScript;
    return .{ .is_binary = word[0] == 'b', .data = bytes(word[2..]) };
}
