//! Leases under random schedules: outages, delayed statements, lost answers, clocks that jump.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const LEASE: Duration = Duration::from_secs(4);
/// The grid on which everything happens: ten to a tick.
const STEP: Duration = Duration::from_millis(50);
const STEPS_A_TICK: usize = 10;
const STEPS_A_LEASE: usize = 8 * STEPS_A_TICK;

/// The store works for so many steps, and then not for so many.
#[derive(Clone, Debug)]
struct Weather {
    up: usize,
    down: usize,
}

/// Statements of the process that looks for lapsed rows: begun at a step, run some steps later.
#[derive(Clone, Debug)]
struct Claim {
    at: usize,
    delay: usize,
}

/// How long a renewal takes, in steps: until it is run, and from then until its answer is there.
#[derive(Clone, Copy, Debug)]
struct Latency {
    there: usize,
    back: usize,
}

#[derive(Clone, Debug)]
struct Schedule {
    weather: Vec<Weather>,
    claims: Vec<Claim>,
    /// When the database's clock jumps, and by how many milliseconds.
    jump: Option<(usize, i64)>,
    /// When each process looks at its leases.
    phases: [usize; 2],
    /// Of the renewals, by their number.
    latencies: Vec<Latency>,
    /// Renewals whose answer is lost, by their number.
    lost: Vec<bool>,
    /// A statement that finds the store down waits for it, up to a lease; else it fails at once.
    waits: bool,
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let weather = (2 * STEPS_A_TICK..5 * STEPS_A_LEASE, 0..2 * STEPS_A_LEASE);
    let claim = (0..16 * STEPS_A_LEASE, prop_oneof![Just(0), 0..STEPS_A_LEASE]);
    let jump = (0..8 * STEPS_A_LEASE, prop_oneof![-20_000..20_000_i64, -900..900_i64]);
    // From a store that answers at once to one that takes 0.8 of a lease.
    let latencies = prop_oneof![Just(1), 1..STEPS_A_LEASE * 2 / 5].prop_flat_map(|most| {
        vec((0..most, 0..most).prop_map(|(there, back)| Latency { there, back }), 1..20)
    });
    (
        vec(weather.prop_map(|(up, down)| Weather { up, down }), 1..6),
        vec(claim.prop_map(|(at, delay)| Claim { at, delay }), 20..60),
        prop::option::of(jump),
        [0..STEPS_A_TICK, 0..STEPS_A_TICK],
        latencies,
        vec(prop::bool::weighted(0.2), 1..20),
        any::<bool>(),
    )
        .prop_map(|(weather, claims, jump, phases, latencies, lost, waits)| Schedule {
            weather,
            claims,
            jump,
            phases,
            latencies,
            lost,
            waits,
        })
}

/// A row of the store, and the store's clock.
struct Database {
    clock: Duration,
    due_at: Duration,
}

impl Database {
    /// As `claim_halves` compares.
    fn may_be_taken(&self, lapsed_before: Option<Duration>) -> bool {
        self.due_at <= self.clock && lapsed_before.is_some_and(|before| self.due_at <= before)
    }
}

/// The renewals of one process, one after the other.
#[derive(Default)]
struct Renewals {
    count: usize,
    next: usize,
    under_way: Option<Renewal>,
}

struct Renewal {
    begun: Instant,
    asked: Vec<MessageId>,
    deadline: Instant,
    runs_at: usize,
    answered_at: usize,
    gives_up_at: usize,
    /// The database's clock when it was run.
    clock: Option<Duration>,
}

impl Renewals {
    /// Lets one step pass. Returns a renewal that was run, when its answer is there: what it wrote is visible to
    /// others not before.
    fn step(
        &mut self,
        schedule: &Schedule,
        leases: &Leases,
        step: usize,
        up: bool,
        clock: Duration,
    ) -> Option<Renewal> {
        if self.under_way.is_none() && step >= self.next {
            let latency = schedule.latencies[self.count % schedule.latencies.len()];
            self.count += 1;
            self.next = step + STEPS_A_TICK;
            self.under_way = Some(Renewal {
                begun: Instant::now(),
                asked: leases.to_renew(),
                deadline: leases.deadline(),
                runs_at: step + latency.there,
                answered_at: step + latency.there + latency.back,
                gives_up_at: step + STEPS_A_LEASE,
                clock: None,
            });
        }
        let renewal = self.under_way.as_mut()?;
        if renewal.clock.is_none() && step >= renewal.runs_at {
            if up {
                renewal.clock = Some(clock);
                renewal.answered_at = step + renewal.answered_at - renewal.runs_at;
            } else if !schedule.waits || step >= renewal.gives_up_at {
                self.under_way = None;
                return None;
            }
        }
        if renewal.clock.is_some() && step >= renewal.answered_at { self.under_way.take() } else { None }
    }
}

/// Says at which step the row was taken over, if ever. A dead process does not renew it.
async fn taken_over(schedule: &Schedule, is_alive: bool) -> Option<usize> {
    let row = MessageId::from_uuid(Uuid::from_u128(1));
    let (holder, other) = (Leases::new(LEASE), Leases::new(LEASE));
    let clock = Duration::from_secs(1_000_000);
    let mut database = Database { clock, due_at: clock + LEASE };
    holder.took([row], holder.deadline());
    let up: Vec<bool> = schedule
        .weather
        .iter()
        .flat_map(|weather| [vec![true; weather.up], vec![false; weather.down]].concat())
        .collect();
    let mut under_way: BTreeMap<usize, Option<Duration>> = BTreeMap::new();
    let mut renewals = schedule.phases.map(|next| Renewals { next, ..Renewals::default() });
    for (step, up) in up.into_iter().enumerate() {
        advance(STEP).await;
        database.clock += STEP;
        if let Some((at, by)) = schedule.jump
            && at == step
        {
            let by_now = database.clock.as_millis().try_into().unwrap_or(i64::MAX) + by;
            database.clock = Duration::from_millis(by_now.unsigned_abs());
        }
        if is_alive && let Some(done) = renewals[0].step(schedule, &holder, step, up, database.clock) {
            if !done.asked.is_empty() {
                database.due_at = done.clock.expect("it was run") + LEASE;
            }
            if !schedule.lost[renewals[0].count % schedule.lost.len()] {
                holder.renewed(&done.asked, &done.asked, &[], done.deadline);
            }
        }
        if let Some(done) = renewals[1].step(schedule, &other, step, up, database.clock) {
            other.in_contact(done.begun, done.clock.expect("it was run"));
        }
        for claim in schedule.claims.iter().filter(|claim| claim.at == step) {
            under_way.insert(step + claim.delay, other.lapsed_before());
        }
        if let Some(lapsed_before) = under_way.get(&step)
            && up
            && database.may_be_taken(*lapsed_before)
        {
            return Some(step);
        }
        assert!(holder.holds(&row), "nobody has said that it is lost");
    }
    None
}

/// Runs with a clock that only moves when it is told to.
fn in_paused_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("starts").block_on(future)
}

/// What one process does to its own rows.
#[derive(Clone, Debug)]
enum Deed {
    Took(u8),
    LetGo(u8),
    /// The rows that still are ours, and those that are locked; the rest is not ours any more.
    Renewed {
        ours: u8,
        locked: u8,
    },
    /// The same, and meanwhile a row is let go and perhaps taken again.
    RenewedWhile {
        ours: u8,
        let_go: u8,
        again: bool,
    },
    Wait(u16),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0..8_u8).prop_map(Deed::Took),
        (0..8_u8).prop_map(Deed::LetGo),
        any::<(u8, u8)>().prop_map(|(ours, locked)| Deed::Renewed { ours, locked }),
        (any::<u8>(), 0..8_u8, any::<bool>()).prop_map(|(ours, let_go, again)| Deed::RenewedWhile {
            ours,
            let_go,
            again
        }),
        (0..3000_u16).prop_map(Deed::Wait),
    ];
    vec(deed, 1..60)
}

fn row(number: u8) -> MessageId {
    Uuid::from_u128(number.into()).into()
}

/// Those rows whose bit is set.
fn of(bits: u8) -> impl Fn(&MessageId) -> bool {
    move |id| bits >> id.as_uuid().as_u128() & 1 == 1
}

/// The same bookkeeping, written down as simply as can be.
#[derive(Default)]
struct Books(BTreeMap<MessageId, Instant>);

impl Books {
    fn agree(&self, leases: &Leases) {
        let now = Instant::now();
        for id in (0..8).map(row) {
            let until = self.0.get(&id);
            assert_eq!(leases.holds(&id), until.is_some(), "{id} is held");
            assert_eq!(leases.surely_holds(&id), until.is_some_and(|until| now < *until), "{id} surely");
        }
        let due = self.0.iter().filter(|(_, until)| **until < now + LEASE * 3 / 4);
        assert_eq!(leases.to_renew(), due.map(|(id, _)| *id).collect::<Vec<_>>());
    }

    async fn perform(&mut self, leases: &Leases, deed: &Deed) {
        match *deed {
            Deed::Took(number) => self.take(leases, row(number)),
            Deed::LetGo(number) => self.let_go(leases, row(number)),
            Deed::Wait(millis) => advance(Duration::from_millis(millis.into())).await,
            Deed::Renewed { ours, locked } => self.renew(leases, ours, locked, |_, _| {}).await,
            Deed::RenewedWhile { ours, let_go, again } => {
                let meanwhile = |books: &mut Self, leases: &Leases| {
                    books.let_go(leases, row(let_go));
                    if again {
                        books.take(leases, row(let_go));
                    }
                };
                self.renew(leases, ours, 0, meanwhile).await;
            }
        }
    }

    fn take(&mut self, leases: &Leases, id: MessageId) {
        leases.took([id], leases.deadline());
        self.0.insert(id, leases.deadline());
    }

    fn let_go(&mut self, leases: &Leases, id: MessageId) {
        leases.let_go(&[id]);
        self.0.remove(&id);
    }

    async fn renew(&mut self, leases: &Leases, ours: u8, locked: u8, meanwhile: impl Fn(&mut Self, &Leases)) {
        let (asked, deadline) = (leases.to_renew(), leases.deadline());
        advance(STEP).await;
        meanwhile(self, leases);
        let renewed: Vec<_> = asked.iter().copied().filter(of(ours)).collect();
        let locked: Vec<_> = asked.iter().copied().filter(of(locked)).collect();
        leases.renewed(&asked, &renewed, &locked, deadline);
        for id in &asked {
            if renewed.contains(id) {
                self.0.entry(*id).and_modify(|until| *until = deadline);
            } else if !locked.contains(id) {
                self.0.remove(id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the store and its clock do, and however slow it is: a process that looks at its leases keeps
    /// its rows.
    #[test]
    fn a_live_row_is_never_taken_over(schedule in schedules()) {
        prop_assert_eq!(in_paused_time(taken_over(&schedule, true)), None);
    }

    #[test]
    fn what_is_held_is_what_was_taken_and_neither_let_go_nor_lost(deeds in deeds()) {
        in_paused_time(async {
            let (leases, mut books) = (Leases::new(LEASE), Books::default());
            for deed in &deeds {
                books.perform(&leases, deed).await;
                books.agree(&leases);
            }
        });
    }
}

/// The same search finds something when the row's process is dead: within a quarter of a lease after it has
/// lapsed where the store is fast, and within a few leases where it takes 0.4 or 0.8 of one.
#[test]
fn a_dead_row_is_taken_over() {
    // In tenths of a lease, and in quarters of one.
    for (latency, latest) in [(0, 5), (4, 14), (8, 24)] {
        let half = STEPS_A_LEASE * latency / 20;
        let schedule = Schedule {
            weather: vec![Weather { up: 8 * STEPS_A_LEASE, down: 0 }],
            claims: (0..8 * STEPS_A_LEASE).map(|at| Claim { at, delay: 0 }).collect(),
            jump: None,
            phases: [0, 0],
            latencies: vec![Latency { there: half, back: half }],
            lost: vec![false],
            waits: false,
        };
        let step = in_paused_time(taken_over(&schedule, false)).expect("is taken over");
        let in_time = STEPS_A_LEASE - 1..STEPS_A_LEASE * latest / 4;
        assert!(in_time.contains(&step), "0.{latency}: after {step} steps");
    }
}
