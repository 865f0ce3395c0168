//! Nobody would choose the parameters of a generic object.

use holdfast::prelude::*;

#[object]
struct Thing<T> {
    value: T,
}

fn main() {}
