//! What an error of the crate must say, and must not.

use transactional_message::{Error, ErrorKind};

/// Is in URLs here, and must be in no error.
pub const PASSWORD: &str = "hunter2";

/// The error is of this kind and says all of this, and its body did not run.
#[track_caller]
pub fn says(error: &Error, kind: ErrorKind, expected: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for text in [error.to_string(), format!("{error:?}")] {
        for expected in expected {
            assert!(text.contains(expected), "`{text}` does not say `{expected}`");
        }
        assert!(!text.contains(PASSWORD), "{text}");
    }
    assert!(!error.body_ran());
}
