//! What the log was told, so that it is told once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last word on each matter. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct News(Arc<Mutex<HashMap<String, String>>>);

impl News {
    /// Notes what there is to say about a matter. Whether it is something new.
    pub(super) fn is_new(&self, about: &str, said: &str) -> bool {
        self.told().insert(about.to_owned(), said.to_owned()).as_deref() != Some(said)
    }

    /// Whether anything was said about a matter.
    pub(super) fn knows(&self, about: &str) -> bool {
        self.told().contains_key(about)
    }

    /// Notes that there is nothing to say any more. Whether there was.
    pub(super) fn is_over(&self, about: &str) -> bool {
        self.told().remove(about).is_some()
    }

    fn told(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_news_once_and_again_when_it_was_over() {
        let news = News::default();
        assert!(news.is_new("a", "x") && !news.clone().is_new("a", "x"));
        assert!(news.is_new("b", "x") && news.is_new("a", "y") && news.is_new("a", "x"));
        assert!(news.knows("a") && news.is_over("a") && !news.knows("a") && !news.is_over("a"));
        assert!(news.is_new("a", "x"));
    }
}
