//! Tidiness as ordinary tests: what the compiler does not check and reviewers should not have to.
//!
//! Each module owns one rule as a function from text to violations, a test that the repository has none, and a test that
//! the rule finds what it forbids: a checker that cannot fail proves nothing.

mod c_bindings;
mod circles;
mod contract;
mod documents;
mod layers;
mod reference;
mod sources;
mod text;
