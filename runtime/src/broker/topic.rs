//! Topic patterns, with AMQP's meaning: words between dots, `*` is one word, `#` any number.

/// A binding's pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<String>);

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.split('.').map(str::to_owned).collect())
    }

    pub(crate) fn matches(&self, routing_key: &str) -> bool {
        let words: Vec<&str> = routing_key.split('.').collect();
        // `reachable[n]`: the pattern so far can take exactly the first n words. Linear in both,
        // where the obvious recursion is exponential in the number of `#`.
        let mut reachable = vec![false; words.len() + 1];
        reachable[0] = true;
        for part in &self.0 {
            let mut next = vec![false; words.len() + 1];
            for taken in 0..=words.len() {
                next[taken] = match part.as_str() {
                    "#" => reachable[taken] || (taken > 0 && next[taken - 1]),
                    _ if taken == 0 => false,
                    "*" => reachable[taken - 1],
                    word => reachable[taken - 1] && words[taken - 1] == word,
                };
            }
            reachable = next;
        }
        reachable[words.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stars_and_hashes() {
        for (pattern, key, expected) in [
            ("payment.completed", "payment.completed", true),
            ("payment.completed", "payment.declined", false),
            ("payment.*", "payment.completed", true),
            ("payment.*", "payment", false),
            ("payment.*", "payment.completed.late", false),
            ("payment.#", "payment", true),
            ("payment.#", "payment.completed.late", true),
            ("#", "", true),
            ("#", "anything.at.all", true),
            ("#.late", "payment.completed.late", true),
            ("#.late", "late", true),
            ("#.late", "payment.later", false),
            ("*.#.late", "late", false),
            ("#.*.#", "a", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(key), expected, "{pattern} against {key}");
        }
    }

    #[test]
    fn many_hashes_are_no_trap() {
        let pattern = Pattern::new(&vec!["#"; 60].join(".a."));
        assert!(!pattern.matches(&vec!["a"; 40].join(".b.")));
    }
}
