//! A log in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged, as text.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens as long as the guard lives. A test's runtime has one thread, and so have its tasks.
    pub fn listen(level: LevelFilter) -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(level)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines that have one of these in them.
    pub fn lines_with(&self, parts: &[&str]) -> Vec<String> {
        let text =
            String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        let found = |line: &&str| parts.iter().any(|part| line.contains(part));
        text.lines().filter(found).map(Into::into).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// How many lines a thread remembers.
const REMEMBERED: usize = 40;

thread_local! {
    static LAST: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// Remembers what each thread logs last, for a failure to show. A test's runtime has one thread.
pub(crate) fn remember() {
    // The first one of the process, unless the test has a subscriber of its own.
    let _ = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(LevelFilter::INFO)
        .with_writer(|| Last)
        .try_init();
}

pub(crate) fn last_lines() -> String {
    LAST.with_borrow(|lines| lines.iter().rev().cloned().collect())
}

struct Last;

impl Write for Last {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LAST.with_borrow_mut(|lines| {
            lines.truncate(REMEMBERED - 1);
            lines.push_front(String::from_utf8_lossy(line).into_owned());
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
