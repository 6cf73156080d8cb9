//! What can't be annotated, and what the compiler then says: each file in `fail/` is compiled, and the errors
//! are compared with the `.stderr` file beside it. `TRYBUILD=overwrite cargo test -p ui --test compile` writes
//! those anew; read them as somebody who made the mistake and knows nothing of macros.

#[test]
fn fail() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}
