//! What wit-bindgen makes of `wit/`. Generated and quarantined: nothing here is written by hand, and only the modules
//! that wrap an interface look inside.
#![allow(missing_docs, reason = "generated")]

wit_bindgen::generate!({
    // The same place in the repository and in a project that `holdfast new` made.
    path: "../../wit",
    world: "object-with-init",
    pub_export_macro: true,
    additional_type_attributes: {
        "holdfast:object/sql@0.2.0/value": [#[derive(PartialEq)]],
        "holdfast:object/websockets@0.2.0/message": [#[derive(PartialEq, Eq)]],
    },
});

/// The handlers that not every class exports, each as a world of its own: a component is the union of the worlds that
/// it asks for, so those with all of them are what `wit/` calls a `full-object`, and the others do not have the exports
/// at all.
pub mod with_alarm {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package holdfast:sdk; world with-alarm { export holdfast:object/alarm-handler@0.2.0; }",
        world: "holdfast:sdk/with-alarm",
        with: { "holdfast:object/types@0.2.0": crate::bindings::holdfast::object::types },
        pub_export_macro: true,
    });
}

/// See [`with_alarm`].
pub mod with_calls {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package holdfast:sdk; world with-calls { export holdfast:object/call-handler@0.2.0; }",
        world: "holdfast:sdk/with-calls",
        with: { "holdfast:object/types@0.2.0": crate::bindings::holdfast::object::types },
        pub_export_macro: true,
    });
}

/// See [`with_alarm`].
pub mod with_later {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package holdfast:sdk; world with-later { export holdfast:object/later-handler@0.2.0; }",
        world: "holdfast:sdk/with-later",
        with: { "holdfast:object/types@0.2.0": crate::bindings::holdfast::object::types },
        pub_export_macro: true,
    });
}

/// See [`with_alarm`].
pub mod with_websocket {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package holdfast:sdk; world with-websocket { export holdfast:object/websocket-handler@0.2.0; }",
        world: "holdfast:sdk/with-websocket",
        with: {
            "holdfast:object/types@0.2.0": crate::bindings::holdfast::object::types,
            "holdfast:object/websockets@0.2.0": crate::bindings::holdfast::object::websockets,
        },
        pub_export_macro: true,
    });
}
