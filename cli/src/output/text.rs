//! Texts that others wrote.

/// A text that others wrote, on one line, and without what moves the cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}
