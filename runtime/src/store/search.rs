//! How a search goes: over a bounded number of candidates, so that it costs the same however much the table has.

use std::time::SystemTime;

use uuid::Uuid;

use super::info::Filter;
use crate::message::state::MessageState;
use crate::message::{CallId, MessageId};

/// How many candidates a search looks at.
pub(crate) const SCAN: u32 = 5000;
/// And at most, should new ones come while it looks.
pub(crate) const SCAN_AND_NEW: u32 = 2 * SCAN;

/// Where a search looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// At the messages of a call.
    Call(CallId),
    /// At all that are in an unfinished state, since they are few.
    Few(MessageState),
    /// At the newest that wait for an operator, which have an index of their own.
    Waiting(MessageState),
    /// At the newest of all.
    Newest,
}

/// A search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan<'f> {
    pub(crate) filter: &'f Filter,
    pub(crate) candidates: Candidates,
    /// Ids from here.
    pub(crate) from: Uuid,
    /// To below here.
    pub(crate) before: Uuid,
    pub(crate) limit: u32,
}

impl<'f> Scan<'f> {
    pub(super) fn new(filter: &'f Filter, before: Option<MessageId>, limit: u32, few: bool) -> Self {
        let candidates = match (filter.call_id, filter.state) {
            (Some(call), _) => Candidates::Call(call),
            (None, Some(state)) if few => Candidates::Few(state),
            (None, Some(state @ (MessageState::Parked | MessageState::Dead))) => Candidates::Waiting(state),
            (None, _) => Candidates::Newest,
        };
        let until = filter.until.map_or(Uuid::max(), first_id);
        Self {
            filter,
            candidates,
            from: filter.since.map_or(Uuid::nil(), first_id),
            before: before.map_or(until, |before| until.min(before.as_uuid())),
            limit,
        }
    }

    /// Of all messages whose ids begin so.
    pub(super) fn of_prefix(filter: &'f Filter, prefix: IdPrefix, limit: u32) -> Self {
        let IdPrefix { first, last } = prefix;
        let before = last.as_u128().checked_add(1).map_or(last, Uuid::from_u128);
        Self { filter, candidates: Candidates::Newest, from: first, before, limit }
    }

    /// Whether it looks at everything there is.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.candidates, Candidates::Call(_) | Candidates::Few(_))
    }
}

/// The first digits of an id, with or without hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IdPrefix {
    first: Uuid,
    last: Uuid,
}

impl std::str::FromStr for IdPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|one| *one != '-').collect();
        if digits.is_empty() || digits.len() > 32 || !digits.chars().all(|one| one.is_ascii_hexdigit()) {
            return Err(format!(
                "`{text}` is not an id, nor the beginning of one: up to 32 hexadecimal digits"
            ));
        }
        let first = Uuid::parse_str(&format!("{digits:0<32}")).map_err(|error| error.to_string())?;
        let rest = 128 - 4 * digits.len();
        let ones = if rest == 128 { u128::MAX } else { (1 << rest) - 1 };
        Ok(Self { first, last: Uuid::from_u128(first.as_u128() | ones) })
    }
}

/// The first id, a UUID of version 7, of a time.
fn first_id(time: SystemTime) -> Uuid {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let millis = u64::try_from(millis).unwrap_or(u64::MAX).min((1 << 48) - 1);
    Uuid::from_u128(u128::from(millis) << 80)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_bounded_by_times() {
        let time = SystemTime::now();
        let id = Uuid::now_v7();
        assert!(first_id(time) <= id && id < first_id(time + Duration::from_mins(1)));
        assert_eq!(first_id(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), Uuid::nil());
    }

    #[test]
    fn a_prefix_is_a_range_of_ids() {
        let id: Uuid = "0192f3a4-5b6c-7d8e-9fa0-b1c2d3e4f506".parse().expect("an id");
        for text in ["0", "0192f3a4-5", "0192F3A45B6C7D8E9FA0B1C2D3E4F506"] {
            let prefix: IdPrefix = text.parse().expect("a prefix");
            assert!((prefix.first..=prefix.last).contains(&id), "{text}: {prefix:?}");
        }
        let prefix: IdPrefix = "0192f3a4-6".parse().expect("a prefix");
        assert!(!(prefix.first..=prefix.last).contains(&id));
        for text in ["", "x", "0192f3a45b6c7d8e9fa0b1c2d3e4f50600"] {
            assert!(text.parse::<IdPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn looks_where_the_fewest_are() {
        let filter = Filter::default().state(MessageState::Dead);
        let of = |filter: &Filter, few| Scan::new(filter, None, 10, few).candidates;
        assert_eq!(of(&filter, true), Candidates::Few(MessageState::Dead));
        assert_eq!(of(&filter, false), Candidates::Waiting(MessageState::Dead));
        assert_eq!(of(&Filter::from(MessageState::Half), false), Candidates::Newest);
        assert_eq!(of(&Filter::default(), false), Candidates::Newest);
        let call = CallId::new();
        assert_eq!(of(&filter.call_id(call), false), Candidates::Call(call));
    }
}
