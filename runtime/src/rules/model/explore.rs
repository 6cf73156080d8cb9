//! The exploration: breadth first, so that a counterexample is as short as can be.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use super::properties::{at_a_moment, at_the_end, is_finished_with, is_settled, over_a_step};
use super::rules::{May, Model};
use super::steps::{Action, Cause, Steps};
use super::world::{Call, Message, World};
use crate::message::state::MessageState;

/// More than any configuration has: reached, it would not be the whole space.
const BOUND: usize = 2_000_000;

/// What was found where everything holds.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) worlds: usize,
    pub(super) steps: usize,
    pub(super) settled: usize,
    /// Where messages are when nothing more happens by itself.
    pub(super) ends: BTreeSet<MessageState>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worlds, steps, settled, ends } = self;
        write!(f, "{worlds} worlds, {settled} of them settled, {steps} steps, ending {ends:?}")
    }
}

/// How a property was broken.
pub(super) struct Counterexample {
    pub(super) broken: &'static str,
    trace: Vec<(Option<Action>, World)>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "broken: {}", self.broken)?;
        for (number, (action, world)) in self.trace.iter().enumerate() {
            match action {
                Some(action) => writeln!(f, "{number:>3}. {action}")?,
                None => writeln!(f, "     in the beginning")?,
            }
            writeln!(f, "       → {world}")?;
        }
        Ok(())
    }
}

/// Visits every world that can be reached.
pub(super) fn explore(model: &Model) -> Result<Explored, Counterexample> {
    let mut space = Space::new(model.start());
    let mut steps = Steps::new(model, model.start());
    let mut next = 0;
    while next < space.worlds.len() {
        let world = space.worlds[next];
        let from = number(next);
        if let Some(broken) = at_a_moment(model, &world) {
            return Err(space.counterexample(from, broken));
        }
        if is_settled(&world)
            && let Some(broken) = at_the_end(&world)
        {
            return Err(space.counterexample(from, broken));
        }
        for (action, after) in steps.from(world) {
            let to = space.add(*after, from, *action);
            if let Some(broken) = over_a_step(model, &world, after) {
                return Err(space.counterexample_with(from, *action, *after, broken));
            }
            if action.cause != Cause::Fault {
                space.edges.push((from, to, action.cause));
            }
            space.steps += 1;
        }
        next += 1;
        assert!(space.worlds.len() < BOUND, "{}: larger than {BOUND}", model.name);
    }
    space.progress(model)?;
    let settled: Vec<_> = space.worlds.iter().filter(|world| is_settled(world)).collect();
    let calls = settled.iter().flat_map(|world| world.calls.iter().flatten());
    let ends = calls.flat_map(Call::messages).filter_map(Message::state).collect();
    Ok(Explored { worlds: space.worlds.len(), steps: space.steps, settled: settled.len(), ends })
}

/// Shows `look` every world that can be reached, with everything that can happen next there.
pub(super) fn visit(model: &Model, mut look: impl FnMut(&World, &[(Action, World)])) {
    let mut space = Space::new(model.start());
    let mut steps = Steps::new(model, model.start());
    let mut next = 0;
    while next < space.worlds.len() {
        let world = space.worlds[next];
        let found = steps.from(world);
        look(&world, found);
        for (action, after) in found {
            space.add(*after, number(next), *action);
        }
        next += 1;
    }
}

struct Space {
    worlds: Vec<World>,
    numbers: HashMap<World, u32, BuildHasherDefault<Mix>>,
    /// How each world was reached first.
    reached: Vec<Option<(u32, Action)>>,
    edges: Vec<(u32, u32, Cause)>,
    steps: usize,
}

impl Space {
    fn new(start: World) -> Self {
        let numbers = HashMap::from_iter([(start, 0)]);
        Self { worlds: vec![start], numbers, reached: vec![None], edges: Vec::new(), steps: 0 }
    }

    fn add(&mut self, world: World, from: u32, action: Action) -> u32 {
        let new = number(self.worlds.len());
        let known = *self.numbers.entry(world).or_insert(new);
        if known == new {
            self.worlds.push(world);
            self.reached.push(Some((from, action)));
        }
        known
    }

    /// From everywhere, the system comes to rest without a fault's help; and a person can finish.
    /// In a finite space that is what fairness makes certain.
    fn progress(&self, model: &Model) -> Result<(), Counterexample> {
        let rests = self.leads_to(is_settled, |cause| cause == Cause::System);
        if let Some(stuck) = rests.iter().position(|rests| !rests) {
            return Err(self.counterexample(number(stuck), "the system always comes to rest"));
        }
        if model.may(May::Operator) {
            let ends = self.leads_to(is_finished_with, |_| true);
            if let Some(stuck) = ends.iter().position(|ends| !ends) {
                return Err(self.counterexample(number(stuck), "a person can always settle what waits"));
            }
        }
        Ok(())
    }

    /// From which worlds there is a way to a good one, along such steps.
    fn leads_to(&self, good: fn(&World) -> bool, along: fn(Cause) -> bool) -> Vec<bool> {
        // The steps backwards: those that lead to a world stand together.
        let mut back: Vec<_> =
            self.edges.iter().filter(|edge| along(edge.2)).map(|edge| (edge.1, edge.0)).collect();
        back.sort_unstable();
        let mut leads: Vec<bool> = self.worlds.iter().map(good).collect();
        let mut open: Vec<_> = (0..leads.len()).filter(|world| leads[*world]).map(number).collect();
        while let Some(to) = open.pop() {
            let first = back.partition_point(|edge| edge.0 < to);
            for (_, from) in back[first..].iter().take_while(|edge| edge.0 == to) {
                if !std::mem::replace(&mut leads[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        leads
    }

    fn counterexample(&self, mut at: u32, broken: &'static str) -> Counterexample {
        let mut trace = Vec::new();
        while let Some((from, action)) = self.reached[at as usize] {
            trace.push((Some(action), self.worlds[at as usize]));
            at = from;
        }
        trace.push((None, self.worlds[at as usize]));
        trace.reverse();
        Counterexample { broken, trace }
    }

    fn counterexample_with(
        &self,
        from: u32,
        action: Action,
        after: World,
        broken: &'static str,
    ) -> Counterexample {
        let mut counterexample = self.counterexample(from, broken);
        counterexample.trace.push((Some(action), after));
        counterexample
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("below the bound")
}

/// Hashes many small values. The standard one is made against people who choose the keys.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
