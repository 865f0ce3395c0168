//! An object is a struct.

use holdfast::prelude::*;

#[object]
enum Thing {
    One,
}

fn main() {}
