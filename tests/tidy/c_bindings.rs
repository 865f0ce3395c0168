//! The bindings of the SDK for C are generated from the contract and checked in, so that building a class needs no
//! generator.

use wit_bindgen_core::{Files, wit_parser::Resolve};

use crate::sources::root;

#[test]
fn the_bindings_of_the_sdk_for_c_are_fresh() {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root().join("wit")).expect("the contract is sound");
    let world = resolve.select_world(&[package], Some("imports")).expect("it has this world");
    // Exports are macros of holdfast.h, so that a class defines only those that it needs.
    let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("bindings can be generated");

    let mut stale = Vec::new();
    for (name, contents) in files.iter() {
        let file = root().join("guest-sdk/c/bindings").join(name);
        if std::fs::read(&file).ok().as_deref() != Some(contents) {
            std::fs::write(&file, contents).expect("the repository can be written");
            stale.push(name.to_owned());
        }
    }
    assert_eq!(stale, Vec::<String>::new(), "these were not, and have been written anew");
}
