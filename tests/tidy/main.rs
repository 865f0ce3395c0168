//! Tidiness as ordinary tests: rules that the compiler does not check and that reviewers should not have to check.
//!
//! Each module owns one rule as a function from text to violations, a test that the repository has none, and a test
//! that the rule finds what it forbids: a checker that cannot fail proves nothing.

mod c_bindings;
mod circles;
mod contract;
mod disk;
mod documents;
mod layers;
mod reference;
mod sources;
mod text;
mod words;
