//! What a turn has: its memory, its errors, and how it ends.
const std = @import("std");
const h = @import("holdfast");

/// `Refused`: the host refused an operation, and `hf_last_error` has the reason. `Failed`: the turn fails with the failure
/// that `hf_fail` got.
pub const Error = error{ Refused, Failed };

pub fn check(refused: h.hf_error) error{Refused}!void {
    if (refused != h.HF_OK) return error.Refused;
}

/// `return fail(h.hf_fail(code, format, …));`
pub fn fail(_: h.hf_result) error{Failed} {
    return error.Failed;
}

/// The result of a handler for the library.
pub fn result(end: anyerror!void) h.hf_result {
    end catch |err| return switch (err) {
        error.Failed => h.HF_FAILED,
        error.Refused => h.hf_fail_last(),
        else => h.hf_fail("guest-error", "%s", @errorName(err).ptr),
    };
    return h.HF_DONE;
}

/// The library's memory: all of it is freed once the handler's answer has been read.
pub const allocator: std.mem.Allocator = .{
    .ptr = undefined,
    .vtable = &.{
        .alloc = alloc,
        .resize = std.mem.Allocator.noResize,
        .remap = std.mem.Allocator.noRemap,
        .free = std.mem.Allocator.noFree,
    },
};

fn alloc(_: *anyopaque, size: usize, alignment: std.mem.Alignment, _: usize) ?[*]u8 {
    std.debug.assert(alignment.toByteUnits() <= @alignOf(std.c.max_align_t));
    return @ptrCast(h.hf_alloc(size));
}

/// As `hf_panic` in C, with `@src()`: the log has the place, too.
pub fn panicAt(place: std.builtin.SourceLocation, message: [:0]const u8) noreturn {
    h.hf_panic_at(place.file.ptr, @intCast(place.line), "%s", message.ptr);
}

/// `@panic`, which has no source position: into the log as an error, and to the caller.
pub fn panicked(message: []const u8, _: ?usize) noreturn {
    h.hf_log_fields(h.HF_ERROR, .{ .data = message.ptr, .size = message.len }, null, 0);
    @trap();
}
