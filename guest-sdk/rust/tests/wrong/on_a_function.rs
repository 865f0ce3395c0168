//! An object is a struct.

use holdfast::prelude::*;

#[object]
fn thing() {}

fn main() {}
