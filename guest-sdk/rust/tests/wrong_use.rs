//! Wrong use of the SDK must be told in words that a newcomer understands: each file in `wrong/` has what the compiler
//! says beside it. After a change for the better, `TRYBUILD=overwrite cargo test -p holdfast` writes it anew.

#[test]
fn wrong_use_is_explained() {
    trybuild::TestCases::new().compile_fail("tests/wrong/*.rs");
}
