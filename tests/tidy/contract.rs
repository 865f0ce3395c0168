//! The guest contract documents itself: it parses, and every function, field and case of it says what it means.

use wit_parser::{Docs, Resolve, TypeDefKind};

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
