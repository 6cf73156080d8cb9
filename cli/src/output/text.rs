//! Texts that others wrote.

/// Makes it one line, without what moves the cursor or turns the direction of writing around.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|one| if is_harmful(one) { ' ' } else { one }).collect()
}

/// The same for several lines.
pub(super) fn lines(text: &str) -> String {
    text.chars().map(|one| if one != '\n' && is_harmful(one) { ' ' } else { one }).collect()
}

fn is_harmful(one: char) -> bool {
    let turns = matches!(one, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    one.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_or_turns_is_left_out() {
        assert_eq!(plain("a\u{1b}[2J\nb\u{202e}c\u{9b}"), "a [2J b c ");
        assert_eq!(lines("a\nb\u{7}"), "a\nb ");
    }
}
