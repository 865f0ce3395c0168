//! The guest contract documents itself and can be extended: every function, field and case is documented, the
//! documentation of a function begins with a verb, errors can grow without a new interface, and every export of a class
//! is called a handler.

use wit_parser::{Docs, Resolve, Type, TypeDefKind, WorldItem};

use crate::sources::{assert_none, root};

fn violations(resolve: &Resolve) -> Vec<String> {
    let mut undocumented = Vec::new();
    let mut check = |docs: &Docs, name: String| {
        if docs.contents.as_deref().is_none_or(|text| text.trim().is_empty()) {
            undocumented.push(format!("{name} is not documented"));
        }
    };
    for (_, world) in &resolve.worlds {
        check(&world.docs, format!("world {}", world.name));
    }
    for (_, interface) in &resolve.interfaces {
        let place = interface.name.as_deref().unwrap_or("an inline interface");
        check(&interface.docs, format!("interface {place}"));
        for (name, function) in &interface.functions {
            check(&function.docs, format!("{place}: {name}"));
        }
        for (name, id) in &interface.types {
            let definition = &resolve.types[*id];
            let parts: Vec<(&str, &Docs)> = match &definition.kind {
                TypeDefKind::Record(record) => record.fields.iter().map(|field| (&*field.name, &field.docs)).collect(),
                TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| (&*case.name, &case.docs)).collect(),
                TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| (&*case.name, &case.docs)).collect(),
                TypeDefKind::Flags(flags) => flags.flags.iter().map(|flag| (&*flag.name, &flag.docs)).collect(),
                // `use other.{name}`: documented where it is defined.
                TypeDefKind::Type(_) => continue,
                _ => Vec::new(),
            };
            check(&definition.docs, format!("{place}: {name}"));
            for (part, docs) in parts {
                check(docs, format!("{place}: {name}.{part}"));
            }
        }
    }
    undocumented
}

/// Returns the items that would have to change later.
fn narrow(resolve: &Resolve) -> Vec<String> {
    let mut narrow = Vec::new();
    for (_, interface) in &resolve.interfaces {
        let place = interface.name.as_deref().unwrap_or("an inline interface");
        for (name, function) in &interface.functions {
            let docs = function.docs.contents.as_deref().unwrap_or_default();
            let verb = docs.split_whitespace().next().unwrap_or_default();
            if !verb.ends_with('s') || !verb.starts_with(char::is_uppercase) {
                narrow.push(format!("{place}: {name}: `{verb}` is no verb such as `Returns`"));
            }
        }
        let error = interface.types.get("error").map(|id| &resolve.types[*id].kind);
        if let Some(TypeDefKind::Variant(error)) = error
            && !error.cases.last().is_some_and(|case| case.name == "other" && case.ty == Some(Type::String))
        {
            narrow.push(format!("{place}: error does not end with other(string)"));
        }
    }
    for (_, world) in &resolve.worlds {
        for item in world.exports.values() {
            let WorldItem::Interface { id, .. } = item else { continue };
            let name = resolve.interfaces[*id].name.as_deref().unwrap_or_default();
            if !name.ends_with("-handler") {
                narrow.push(format!("world {}: the export {name} is not called a handler", world.name));
            }
        }
    }
    narrow
}

#[test]
fn the_contract_leaves_room_for_what_comes() {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).expect("wit/ is one package that parses");
    assert_none(narrow(&resolve));
}

#[test]
fn what_leaves_no_room_is_found() {
    let mut resolve = Resolve::default();
    let text = "package a:b;
        interface i {
            variant error { full, other }
            /// Return it.
            f: func();
            /// Returns it.
            g: func();
        }
        interface j { variant error { other(string) } }
        interface k-handler {}
        world w { import i; import j; export j; export k-handler; }";
    resolve.push_str("inline.wit", text).expect("it parses");
    let expected = [
        "i: f: `Return` is no verb such as `Returns`",
        "i: error does not end with other(string)",
        "world w: the export j is not called a handler",
    ];
    assert_eq!(narrow(&resolve), expected);
}

#[test]
fn every_item_of_the_contract_is_documented() {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("wit")).expect("wit/ is one package that parses");
    assert!(resolve.worlds.iter().any(|(_, world)| world.name == "object"));
    assert_none(violations(&resolve));
}

#[test]
fn items_without_documentation_are_found() {
    let mut resolve = Resolve::default();
    let text = "package a:b;
        /// Said.
        interface i {
            /// Said.
            record r { /// Said.
                a: u8, b: u8 }
            /// Said.
            variant v { c, /// Said.
                d }
            enum e { f }
            /// Said.
            resource s { g: func(); }
            h: func();
        }
        world w { import i; }";
    resolve.push_str("inline.wit", text).expect("it parses");
    let expected = ["world w", "i: [method]s.g", "i: h", "i: r.b", "i: v.c", "i: e", "i: e.f"];
    assert_eq!(violations(&resolve), expected.map(|item| format!("{item} is not documented")));
}
