//! The rows that this process holds, and how long it has been in touch with the store.
//!
//! Whoever works on a row holds its lease: a running body, a publish in flight. What is held here
//! is renewed by the keeper; a holder that dies renews nothing, and its rows lapse.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::message::MessageId;
use crate::store::{Hold, Token};

/// A store that is interrupted so often is slow. One that was away is interrupted once.
const MANY: u32 = 20;

/// The rows held by this process. One token for all of them.
#[derive(Debug)]
pub(crate) struct Leases {
    token: Token,
    lease: Duration,
    held: Mutex<HashMap<MessageId, Instant>>,
    renewing: tokio::sync::Mutex<()>,
    contact: Mutex<Contact>,
}

/// Since when the store has answered without a gap.
#[derive(Debug)]
struct Contact {
    since: Instant,
    last: Instant,
    last_clock: Option<Duration>,
    /// How often the contact was interrupted since there was a whole lease of it.
    interruptions: u32,
}

impl Leases {
    pub(crate) fn new(lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            token: Uuid::new_v4(),
            lease,
            held: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            contact: Mutex::new(Contact { since: now, last: now, last_clock: None, interruptions: 0 }),
        }
    }

    /// What to give the store with a statement that makes rows ours.
    pub(crate) const fn hold(&self) -> Hold {
        Hold { token: self.token, lease: self.lease }
    }

    pub(crate) const fn token(&self) -> Token {
        self.token
    }

    /// Until when rows are surely ours, if the statement that takes them is sent now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.lease
    }

    /// Records rows that the store gave us. `deadline` was taken before the statement was sent.
    pub(crate) fn took(&self, ids: impl IntoIterator<Item = MessageId>, deadline: Instant) {
        let mut held = self.held();
        held.extend(ids.into_iter().map(|id| (id, deadline)));
    }

    /// Forgets rows: they are finished, given back, or somebody else's.
    pub(crate) fn let_go<'a>(&self, ids: impl IntoIterator<Item = &'a MessageId>) {
        let mut held = self.held();
        for id in ids {
            held.remove(id);
        }
    }

    pub(crate) fn holds(&self, id: &MessageId) -> bool {
        self.held().contains_key(id)
    }

    /// Whether a row is surely still ours: only then may a copy in memory be published.
    pub(crate) fn surely_holds(&self, id: &MessageId) -> bool {
        self.held().get(id).is_some_and(|deadline| Instant::now() < *deadline)
    }

    /// For how long all of these rows are surely ours; `None` when one of them is not ours any more.
    pub(crate) fn left(&self, ids: impl IntoIterator<Item = MessageId>) -> Option<Duration> {
        let (held, now) = (self.held(), Instant::now());
        let mut left = Duration::MAX;
        for id in ids {
            left = left.min(held.get(&id)?.saturating_duration_since(now));
        }
        Some(left)
    }

    /// The turn to renew: whoever waited for it looks again whether there is anything to renew.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.renewing.lock().await
    }

    /// The rows whose lease is more than a quarter gone. With a look every [`Self::tick`], a live
    /// row has five eighths of its lease left whenever the store is up.
    pub(crate) fn to_renew(&self) -> Vec<MessageId> {
        let fresh = Instant::now() + self.lease * 3 / 4;
        let mut ids: Vec<_> =
            self.held().iter().filter(|(_, deadline)| **deadline < fresh).map(|(id, _)| *id).collect();
        // Unsorted multi-row updates deadlock.
        ids.sort_unstable();
        ids
    }

    /// Notes a renewal: `asked` were ours, `renewed` still are, unless they were let go meanwhile;
    /// `locked` are, too, for as long as they were before.
    pub(crate) fn renewed(
        &self,
        asked: &[MessageId],
        renewed: &[MessageId],
        locked: &[MessageId],
        deadline: Instant,
    ) {
        let renewed: HashSet<_> = renewed.iter().collect();
        let mut held = self.held();
        for id in asked {
            if renewed.contains(id) {
                held.entry(*id).and_modify(|until| *until = deadline);
            } else if !locked.contains(id) {
                held.remove(id);
            }
        }
    }

    /// Notes that the store answered, and what its clock said.
    pub(crate) fn in_contact(&self, database_clock: Duration) {
        let now = Instant::now();
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now - contact.last;
        // A gap, or a clock that jumped, makes live holders look dead until they have renewed.
        let jumped = contact.last_clock.is_some_and(|before| {
            database_clock.saturating_sub(before) > passed + self.longest_gap()
                || database_clock + self.longest_gap() < before
        });
        if passed > self.longest_gap() || jumped {
            contact.since = now;
            contact.interruptions += 1;
        } else if now - contact.since >= self.lease {
            contact.interruptions = 0;
        }
        contact.last = now;
        contact.last_clock = Some(database_clock);
    }

    /// Whether the store answers, but again and again too late for a whole lease of contact. Then
    /// nothing is taken over, and nothing else shows it.
    pub(crate) fn store_is_slow(&self) -> bool {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact.interruptions >= MANY
    }

    /// Until when, by the database's clock, rows whose lease has lapsed may be taken from their
    /// holders: only after one unbroken lease of contact, in which every live holder could renew,
    /// and only as long as that contact is fresh. The statement itself compares, so that it does
    /// not matter how long it waited, or whether the clock has jumped meanwhile.
    pub(crate) fn take_over_until(&self) -> Option<Duration> {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let fresh = now - contact.last < self.longest_gap() && now - contact.since >= self.lease;
        contact.last_clock.filter(|_| fresh).map(|clock| clock + self.longest_gap())
    }

    /// How often leases are looked at, and the store is contacted.
    pub(crate) fn tick(&self) -> Duration {
        self.lease / 8
    }

    /// The longest time without an answer that is no interruption: no live row can have lapsed in it.
    fn longest_gap(&self) -> Duration {
        self.lease / 4
    }

    fn held(&self) -> MutexGuard<'_, HashMap<MessageId, Instant>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod schedules;

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(4);

    fn id(n: u128) -> MessageId {
        Uuid::from_u128(n)
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_is_surely_held_until_its_deadline_and_renewed_well_before() {
        let leases = Leases::new(LEASE);
        leases.took([id(1)], leases.deadline());
        assert!(leases.to_renew().is_empty());
        tokio::time::advance(LEASE / 2).await;
        assert_eq!(leases.to_renew(), [id(1)]);
        leases.took([id(2)], leases.deadline());
        assert_eq!([leases.left([id(2), id(1)]), leases.left([id(2)])], [Some(LEASE / 2), Some(LEASE)]);
        assert_eq!(leases.left([id(1), id(3)]), None);
        leases.let_go(&[id(2)]);
        leases.renewed(&[id(1)], &[id(1)], &[], leases.deadline());
        tokio::time::advance(LEASE * 3 / 4).await;
        assert!(leases.surely_holds(&id(1)));
        tokio::time::advance(LEASE / 4).await;
        assert!(!leases.surely_holds(&id(1)));
        leases.renewed(&[id(1)], &[], &[id(1)], leases.deadline());
        assert!(leases.holds(&id(1)) && !leases.surely_holds(&id(1)), "locked: still ours, not renewed");
        leases.renewed(&[id(1)], &[], &[], leases.deadline());
        assert!(!leases.holds(&id(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_let_go_during_its_renewal_stays_let_go() {
        let leases = Leases::new(LEASE);
        leases.took([id(1)], leases.deadline());
        leases.let_go(&[id(1)]);
        leases.renewed(&[id(1)], &[id(1)], &[], leases.deadline());
        assert!(!leases.holds(&id(1)));
    }

    /// The store answers at every tick, for one lease.
    async fn contact(leases: &Leases, clock: &mut Duration) {
        for _ in 0..8 {
            tokio::time::advance(leases.tick()).await;
            *clock += leases.tick();
            leases.in_contact(*clock);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_over_before_one_unbroken_lease_of_contact() {
        let leases = Leases::new(LEASE);
        let mut clock = Duration::from_secs(1000);
        assert_eq!(leases.take_over_until(), None);
        contact(&leases, &mut clock).await;
        assert!(leases.take_over_until().is_some());

        // A store that does not answer for some time: holders could not renew either.
        let until = leases.take_over_until().expect("in contact");
        tokio::time::advance(LEASE / 2).await;
        clock += LEASE / 2;
        assert!(until < clock, "a permission from before is no longer one");
        assert_eq!(leases.take_over_until(), None);
        leases.in_contact(clock);
        assert_eq!(leases.take_over_until(), None);
        contact(&leases, &mut clock).await;
        assert!(leases.take_over_until().is_some());

        // The database's clock jumps, in either direction.
        for jump in [Duration::from_hours(1), Duration::ZERO] {
            clock = if jump.is_zero() { clock.saturating_sub(LEASE * 9) } else { clock + jump };
            leases.in_contact(clock);
            assert_eq!(leases.take_over_until(), None);
            contact(&leases, &mut clock).await;
            assert!(leases.take_over_until().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_too_late_again_and_again_is_slow() {
        let leases = Leases::new(LEASE);
        let mut clock = Duration::from_secs(1000);
        for _ in 0..MANY {
            assert!(!leases.store_is_slow());
            tokio::time::advance(LEASE / 3).await;
            clock += LEASE / 3;
            leases.in_contact(clock);
            assert_eq!(leases.take_over_until(), None);
        }
        assert!(leases.store_is_slow());
        contact(&leases, &mut clock).await;
        assert!(leases.take_over_until().is_some());
        assert!(!leases.store_is_slow());
    }
}
