//! Where and when the service is struck: drawn from the seed, every point once a round.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use transactional_message::fault::{Fault, FaultKind, POINTS};

/// The highest visit of a point that is drawn; in the first rounds it is lower.
const VISITS: u32 = 40;
const MORE_A_ROUND: u32 = 8;
/// The same for points that are not passed by every call.
const RARE_VISITS: u32 = 4;
/// The same after a frozen process goes on.
const SOON: u32 = 3;
const RARE: [&str; 4] = ["claimed", "tombstone-sent", "tombstone-in", "janitor-between"];
/// The longest life of a service that is killed at no point in particular.
const LONGEST_LIFE: u64 = 1500;
const ANYWHERE: &str = "anywhere";
const FREEZE: &str = "freeze:";

/// A place to strike at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Killed at a point.
    Point(&'static str),
    /// Killed from outside.
    Anywhere,
    /// Frozen at a point until another process has taken over; then it goes on, and is killed soon,
    /// at the second point if there is one.
    Frozen(&'static str, Option<&'static str>),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let point = |name: &str| {
            let known = POINTS.into_iter().find(|point| *point == name);
            known.ok_or_else(|| format!("there is no point `{name}`; there are {}", POINTS.join(", ")))
        };
        match text.strip_prefix(FREEZE) {
            Some(names) => match names.split_once(':') {
                Some((name, then)) => Ok(Self::Frozen(point(name)?, Some(point(then)?))),
                None => Ok(Self::Frozen(point(names)?, None)),
            },
            None if text == ANYWHERE => Ok(Self::Anywhere),
            None => point(text).map(Self::Point),
        }
    }
}

impl Target {
    /// Every point, and anywhere.
    pub(crate) fn all() -> Vec<Self> {
        POINTS.into_iter().map(Self::Point).chain([Self::Anywhere]).collect()
    }

    pub(crate) fn is_at(self, point: &str) -> bool {
        matches!(self, Self::Point(at) | Self::Frozen(at, _) if at == point)
    }

    /// Every point, to be frozen at.
    pub(crate) fn frozen() -> impl Iterator<Item = Self> {
        POINTS.into_iter().map(|point| Self::Frozen(point, None))
    }
}

/// One death.
#[derive(Clone, Debug)]
pub(crate) struct Strike {
    pub(crate) target: Target,
    /// What the service does to itself.
    pub(crate) faults: Vec<Fault>,
    /// When it is killed from outside.
    pub(crate) after: Duration,
    /// Not before it has recovered what the one before it has left. Otherwise it may die of that.
    pub(crate) recover: bool,
    /// What its callers do is drawn from this.
    pub(crate) seed: u64,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            write!(f, "{fault} ")?;
        }
        if self.target == Target::Anywhere {
            write!(f, "killed after {:?} ", self.after)?;
        }
        write!(f, "{}", if self.recover { "when it has recovered" } else { "also while it recovers" })
    }
}

/// The strikes of one round after the other.
#[derive(Debug)]
pub(crate) struct Schedule {
    targets: Vec<Target>,
    random: fastrand::Rng,
    round: u32,
}

impl Schedule {
    pub(crate) fn new(targets: Vec<Target>, seed: u64) -> Self {
        Self { targets, random: fastrand::Rng::with_seed(seed), round: 0 }
    }

    /// Each target once, in any order.
    pub(crate) fn round(&mut self) -> Vec<Strike> {
        self.round += 1;
        let mut targets = self.targets.clone();
        self.random.shuffle(&mut targets);
        targets.into_iter().map(|target| self.strike(target)).collect()
    }

    fn strike(&mut self, target: Target) -> Strike {
        let faults = match target {
            Target::Point(point) => vec![self.fault(FaultKind::Die, point)],
            Target::Anywhere => Vec::new(),
            Target::Frozen(point, then) => {
                let common: Vec<_> = POINTS.into_iter().filter(|point| !RARE.contains(point)).collect();
                let then = then.unwrap_or_else(|| common[self.random.usize(..common.len())]);
                let soon = self.random.u32(1..=SOON);
                vec![
                    self.fault(FaultKind::Freeze, point),
                    Fault { fate: FaultKind::Die, point: then.into(), visit: soon },
                ]
            }
        };
        Strike {
            target,
            faults,
            after: Duration::from_millis(self.random.u64(..LONGEST_LIFE)),
            recover: self.random.bool(),
            seed: self.random.u64(..),
        }
    }

    fn fault(&mut self, fate: FaultKind, point: &str) -> Fault {
        let most = if RARE.contains(&point) {
            RARE_VISITS
        } else {
            VISITS.min(self.round.saturating_mul(MORE_A_ROUND))
        };
        Fault { fate, point: point.to_owned(), visit: self.random.u32(1..=most) }
    }
}
