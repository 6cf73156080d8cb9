//! The rows that this process holds, and how long it has been in touch with the store.
//!
//! Whoever works on a row holds its lease: a running body, a publish in flight. What is held here
//! is renewed by the lease renewer; a holder that dies renews nothing, and its rows lapse.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::message::MessageId;
use crate::store::{Hold, Token};

/// A store that is interrupted so often is too slow. One that was away is interrupted once.
const MANY: u32 = 20;
/// The rounds whose latency counts: at least two leases of them.
const ROUNDS: usize = 16;

/// The rows held by this process. One token for all of them.
#[derive(Debug)]
pub(crate) struct Leases {
    token: Token,
    lease: Duration,
    held: Mutex<HashMap<MessageId, Instant>>,
    renewing: tokio::sync::Mutex<()>,
    contact: Mutex<Contact>,
}

/// Since when the store has answered without a gap, and how fast.
#[derive(Debug)]
struct Contact {
    since: Instant,
    last: Option<Round>,
    /// How long the last rounds took.
    latencies: VecDeque<Duration>,
    /// How often the contact was interrupted since there was a whole lease of it.
    interruptions: u32,
    /// The [`Store::switches`](crate::store::Store::switches) of the last answer.
    switches: u64,
}

/// A renewal that the store answered.
#[derive(Clone, Copy, Debug)]
struct Round {
    begun: Instant,
    answered: Instant,
    /// The database's clock at some moment in between.
    clock: Duration,
}

impl Round {
    fn latency(&self) -> Duration {
        self.answered - self.begun
    }

    /// How far the database's clock has moved from the passing of time since an earlier round, beyond
    /// what the latencies of both explain.
    fn jump_since(&self, earlier: &Self) -> Duration {
        let shortest = self.begun.saturating_duration_since(earlier.answered);
        let longest = self.answered - earlier.begun;
        let too_far = self.clock.saturating_sub(earlier.clock + longest);
        too_far.max((earlier.clock + shortest).saturating_sub(self.clock))
    }
}

impl Leases {
    pub(crate) fn new(lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            token: Uuid::new_v4(),
            lease,
            held: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
            contact: Mutex::new(Contact {
                since: now,
                last: None,
                latencies: VecDeque::new(),
                interruptions: 0,
                switches: 0,
            }),
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

    /// How many rows are held.
    pub(crate) fn count(&self) -> usize {
        self.held().len()
    }

    /// For how long the store has answered no renewal.
    pub(crate) fn silence(&self) -> Duration {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact.last.map_or(contact.since, |last| last.answered).elapsed()
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

    /// Notes which server answers. One that has taken over says nothing about the time before, in which a live holder may
    /// have had none that it could renew at.
    pub(crate) fn answered_after(&self, switches: u64) {
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        if contact.switches != switches {
            contact.switches = switches;
            contact.since = Instant::now();
        }
    }

    /// Notes that the store answered a renewal that was sent at `begun`, and what its clock said.
    pub(crate) fn in_contact(&self, begun: Instant, database_clock: Duration) {
        let round = Round { begun, answered: Instant::now(), clock: database_clock };
        let mut contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        let before = contact.last.map_or(contact.since, |last| last.answered);
        let gap = begun.saturating_duration_since(before);
        let jump = contact.last.map_or(Duration::ZERO, |last| round.jump_since(&last));
        // Rounds failed, this process stood still, or a clock jumped: live holders look dead until they
        // have renewed.
        if gap > self.longest_gap() || round.latency() > self.lease || jump > self.longest_gap() {
            contact.since = round.answered;
            contact.latencies.clear();
            contact.interruptions += 1;
        } else if round.answered - contact.since >= self.lease {
            contact.interruptions = 0;
        }
        contact.latencies.truncate(ROUNDS - 1);
        contact.latencies.push_front(round.latency().min(self.lease));
        contact.last = Some(round);
    }

    /// Whether the store answers, but again and again too late for a whole lease of contact. Then
    /// nothing is taken over, and nothing else shows it.
    pub(crate) fn store_is_slow(&self) -> bool {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        contact.interruptions >= MANY
    }

    /// Rows may be taken over from their holders if their lease has lapsed before this time of the database's
    /// clock. `None`: none may.
    ///
    /// The permission has to prove that a live holder would have renewed. A holder looks at its rows every
    /// [`tick`](Self::tick), and others see its renewal one latency of the store after it was sent. So at any contact,
    /// the lease of a live row was asked for at most a tick and two latencies ago: it has `lease - tick - 2 * latency`
    /// left, which is less than nothing where the store is slow. A quarter of a lease is kept for clocks that jump
    /// unnoticed, and other processes may see twice the latency that this one sees.
    ///
    /// Whatever happens after the contact, an outage or a jump: a row that had lapsed by then has no live holder. So it
    /// does not matter how long the statement waits that takes it over.
    pub(crate) fn lapsed_before(&self) -> Option<Duration> {
        let contact = self.contact.lock().unwrap_or_else(PoisonError::into_inner);
        let last = contact.last?;
        let latency = contact.latencies.iter().max().copied().unwrap_or_default();
        let now = Instant::now();
        // Since an interruption, every live holder has had the time to renew.
        let unbroken = now - contact.since >= self.lease + 4 * latency;
        let fresh = now - last.answered < self.longest_gap() + latency;
        // A lease less a tick, which is an eighth, and a quarter.
        let left = (self.lease * 5 / 8).min(self.longest_gap() + 4 * latency);
        (unbroken && fresh).then(|| (last.clock + left).saturating_sub(4 * latency))
    }

    /// How often leases are looked at, and the store is contacted.
    pub(crate) fn tick(&self) -> Duration {
        self.lease / 8
    }

    /// The longest time between two rounds that is no interruption: no live row can have lapsed in it.
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
        Uuid::from_u128(n).into()
    }

    #[tokio::test(start_paused = true)]
    async fn another_server_has_to_answer_for_a_lease_before_anything_is_taken_over() {
        let leases = Leases::new(LEASE);
        let mut clock = Duration::from_secs(1000);
        contact(&leases, &mut clock).await;
        assert!(leases.lapsed_before().is_some());
        leases.answered_after(1);
        assert!(leases.lapsed_before().is_none());
        contact(&leases, &mut clock).await;
        assert!(leases.lapsed_before().is_some());
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

    /// Time passes, by both clocks.
    async fn pass(clock: &mut Duration, time: Duration) {
        tokio::time::advance(time).await;
        *clock += time;
    }

    /// The store answers at every tick, for one lease.
    async fn contact(leases: &Leases, clock: &mut Duration) {
        for _ in 0..8 {
            pass(clock, leases.tick()).await;
            leases.in_contact(Instant::now(), *clock);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_over_before_one_unbroken_lease_of_contact() {
        let leases = Leases::new(LEASE);
        let mut clock = Duration::from_secs(1000);
        assert_eq!(leases.lapsed_before(), None);
        contact(&leases, &mut clock).await;
        assert!(leases.lapsed_before().is_some());

        // A store that does not answer for some time: holders could not renew either.
        let before = leases.lapsed_before().expect("in contact");
        assert_eq!(before, clock + LEASE / 4);
        pass(&mut clock, LEASE / 2).await;
        assert!(before < clock, "what lapses in an outage is not covered by what was known before it");
        assert_eq!(leases.lapsed_before(), None);
        leases.in_contact(Instant::now(), clock);
        assert_eq!(leases.lapsed_before(), None);
        contact(&leases, &mut clock).await;
        assert!(leases.lapsed_before().is_some());

        // The database's clock jumps, in either direction.
        for jump in [Duration::from_hours(1), Duration::ZERO] {
            clock = if jump.is_zero() { clock.saturating_sub(LEASE * 9) } else { clock + jump };
            leases.in_contact(Instant::now(), clock);
            assert_eq!(leases.lapsed_before(), None);
            contact(&leases, &mut clock).await;
            assert!(leases.lapsed_before().is_some());
        }
    }

    /// The slower the store, the longer a row must have lapsed: its holder is as slow.
    #[tokio::test(start_paused = true)]
    async fn from_a_slow_store_rows_are_taken_over_later() {
        for (latency, lapsed_for) in
            [(LEASE / 8, Duration::ZERO), (LEASE * 2 / 5, LEASE * 39 / 40), (LEASE * 4 / 5, LEASE * 103 / 40)]
        {
            let leases = Leases::new(LEASE);
            let mut clock = Duration::from_secs(1000);
            let mut rounds = 0;
            let lapsed_before = loop {
                let begun = Instant::now();
                pass(&mut clock, latency).await;
                leases.in_contact(begun, clock);
                if let Some(before) = leases.lapsed_before() {
                    break before;
                }
                rounds += 1;
                assert!(latency * rounds < LEASE * 5, "no permission with answers after {latency:?}");
            };
            let margin =
                if lapsed_for.is_zero() { clock + LEASE / 8 } else { clock.saturating_sub(lapsed_for) };
            assert_eq!(lapsed_before, margin, "answers after {latency:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_too_late_again_and_again_is_slow() {
        let leases = Leases::new(LEASE);
        let mut clock = Duration::from_secs(1000);
        for _ in 0..MANY {
            assert!(!leases.store_is_slow());
            let begun = Instant::now();
            pass(&mut clock, LEASE * 9 / 8).await;
            leases.in_contact(begun, clock);
            assert_eq!(leases.lapsed_before(), None);
        }
        assert!(leases.store_is_slow());
        contact(&leases, &mut clock).await;
        assert!(!leases.store_is_slow());
    }
}
