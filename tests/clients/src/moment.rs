//! When the process dies.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Moment {
    /// The fence row is in the transaction.
    Entered,
    /// So is the order.
    Worked,
    /// And the row says that the body is done.
    Done,
    /// The function has returned.
    Returned,
    /// The caller has committed.
    Committed,
    /// The body says no before it is done; its caller commits, and the process goes on.
    Declined,
    Never,
}

impl Moment {
    /// Dies if this is the moment: at once, as by `kill -9`.
    pub fn is(self, now: Self) {
        if self == now {
            std::process::abort();
        }
    }

    pub fn declines(self) -> Result<(), &'static str> {
        if self == Self::Declined { Err("declined") } else { Ok(()) }
    }
}
