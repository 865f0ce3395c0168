//! Bindings generated from `wit/`; only this call is written by hand.
//!
//! They have a file of their own so that the rest of the layer names exactly what it uses. Imports can trap, because a
//! guest must not go on after its budget is used up inside a host function.

#![allow(missing_docs, reason = "generated; the WIT files are the documentation")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "full-object",
    // SQL, settling points and calls can be suspended.
    imports: {
        "holdfast:object/storage.sync": async | trappable,
        "holdfast:object/sql.exec": async | trappable,
        "holdfast:object/sql.[method]cursor.next": async | trappable,
        "holdfast:object/packed-sql.exec": async | trappable,
        "holdfast:object/packed-sql.next": async | trappable,
        "holdfast:object/objects.call": async | trappable,
        "holdfast:object/objects.fetch": async | trappable,
        "holdfast:object/objects.start": async | trappable,
        "holdfast:object/objects.start-fetch": async | trappable,
        "holdfast:object/objects.wait": async | trappable,
        "holdfast:object/objects.[method]pending.finish": async | trappable,
        "holdfast:object/objects.[method]pending.finish-fetch": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
    with: {
        "holdfast:object/key-value.entries": super::resources::Listing,
        "holdfast:object/objects.pending": super::resources::PendingCall,
        "holdfast:object/sql.cursor": super::resources::Cursor,
        "holdfast:object/storage.savepoint": super::resources::Savepoint,
    },
});

pub use exports::holdfast::object::{
    alarm_handler, call_handler, fetch_handler, init_handler, later_handler, websocket_handler,
};
pub use holdfast::object::{
    alarms, http_types, identity, key_value, later, logging, objects, packed_sql, sql, storage, turn, types, websockets,
};
