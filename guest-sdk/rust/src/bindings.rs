//! What wit-bindgen makes of `wit/`. Generated and quarantined: nothing here is written by hand, and only the modules
//! that wrap an interface look inside.
#![allow(missing_docs, reason = "generated")]

wit_bindgen::generate!({
    // The same place in the repository and in a project that `holdfast new` made.
    path: "../../wit",
    world: "object-with-init",
    pub_export_macro: true,
    additional_type_attributes: { "holdfast:object/sql@0.1.0/value": [#[derive(PartialEq)]] },
});
