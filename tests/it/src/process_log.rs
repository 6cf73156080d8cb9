//! What the whole process logs. Each test has a thread of its own name, so a test that waited in vain can show what it
//! saw meanwhile.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines kept of each thread.
const LINES: usize = 60;

/// The log of this process, from the first use on.
#[derive(Debug, Default)]
pub struct ProcessLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: HashMap<String, VecDeque<String>>,
    /// Everything, once a test has asked for it.
    all: Option<String>,
}

impl ProcessLog {
    /// Listens from now on.
    pub fn get() -> &'static Self {
        static LOG: OnceLock<ProcessLog> = OnceLock::new();
        static INSTALLED: OnceLock<()> = OnceLock::new();
        let log = LOG.get_or_init(Self::default);
        INSTALLED.get_or_init(|| {
            // Whatever RabbitMQ's client library would say, at its most talkative, would be here.
            let filter = EnvFilter::new("warn,transactional_message=info,lapin=trace");
            let subscriber =
                tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log);
            tracing::subscriber::set_global_default(subscriber.finish()).expect("the only one");
        });
        log
    }

    /// Keeps every line from now on.
    pub fn of_everything() -> &'static Self {
        let log = Self::get();
        log.kept().all.get_or_insert_default();
        log
    }

    /// Every line that was kept.
    pub fn text(&self) -> String {
        self.kept().all.clone().unwrap_or_default()
    }

    /// The last lines of this thread, which is this test.
    pub fn last_lines(&self) -> String {
        let kept = self.kept();
        let lines =
            kept.last.get(&this_thread()).map(|lines| lines.iter().map(String::as_str).collect::<String>());
        lines.unwrap_or_else(|| "nothing\n".to_owned())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn this_thread() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

impl Write for &ProcessLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let mut kept = self.kept();
        if let Some(all) = &mut kept.all {
            all.push_str(&line);
        }
        let last = kept.last.entry(this_thread()).or_default();
        if last.len() == LINES {
            last.pop_front();
        }
        last.push_back(line.into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static ProcessLog {
    type Writer = &'static ProcessLog;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
