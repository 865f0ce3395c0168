//! The struct does nothing yet.

use holdfast::prelude::*;

#[object]
struct Thing;

fn main() {}
