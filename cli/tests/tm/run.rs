//! Runs `tm`, and takes out of what it says what is different each time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use it::{Place, World};
use serde_json::Value;

/// How to run it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tm {
    globals: Vec<String>,
    input: String,
    environment: Vec<(String, String)>,
}

/// In the place of an exit code, of one that was killed.
pub(crate) const KILLED: i32 = -1;

/// What it did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Tm {
    /// On the databases of a test.
    pub(crate) fn on<P: Place>(world: &World<P>) -> Self {
        let fence = format!("shop={}", world.place.url("shop"));
        Self::default().with(&["--database-url", &world.place.url("store"), "--fence", &fence])
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.globals.extend(arguments.iter().map(|one| (*one).to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn input(mut self, text: impl Into<String>) -> Self {
        self.input = text.into();
        self
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.spawn(arguments).ended()
    }

    /// Starts it, and does not wait for its end.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tm"))
            .args(arguments)
            .args(&self.globals)
            .env_remove("DATABASE_URL")
            .env_remove("TM_DATABASE_URL")
            .env_remove("AMQP_URL")
            .env_remove("TM_AMQP_URL")
            .env_remove("TM_CONTEXT")
            .env_remove("TM_CONFIG")
            .env("HOME", "/nowhere")
            .env_remove("XDG_CONFIG_HOME")
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        child.stdin.take().expect("an input").write_all(self.input.as_bytes()).expect("takes it");
        Running(child)
    }
}

/// It runs.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// What it has written so far, and goes on to write.
    pub(crate) fn follow(&mut self) -> Arc<Mutex<String>> {
        let output = BufReader::new(self.0.stdout.take().expect("an output"));
        let written = Arc::<Mutex<String>>::default();
        let so_far = Arc::clone(&written);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                so_far.lock().expect("whole").extend([&line, "\n"]);
            }
        });
        written
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("runs");
    }

    /// Ends it as the kernel does.
    pub(crate) fn kill(mut self) -> Ran {
        self.0.kill().expect("runs");
        self.ended()
    }

    /// Waits for its end.
    pub(crate) fn ended(self) -> Ran {
        let output = self.0.wait_with_output().expect("ends");
        Ran {
            code: output.status.code().unwrap_or(KILLED),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// Its output, without ids, times and trailing spaces.
    pub(crate) fn plain(&self) -> String {
        plain(&self.out)
    }
}

pub(crate) fn plain(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').map(word).collect();
        lines.push(without_times(&words.join(" ")).trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

/// A word, without the id in it.
fn word(word: &str) -> String {
    let is_id =
        |text: &str| text.len() == 36 && text.chars().all(|one| one.is_ascii_hexdigit() || one == '-');
    let (bare, rest) = word.split_at(word.trim_end_matches([',', ':', '.']).len());
    match bare.rsplit_once(':') {
        Some((before, id)) if is_id(id) => format!("{before}:ID{rest}"),
        _ if is_id(bare) => format!("ID{rest}"),
        _ => word.to_owned(),
    }
}

/// `3 s ago`, `in 2 min 1 s` and the like.
fn without_times(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut kept: Vec<&str> = Vec::new();
    for word in words {
        let trimmed = word.trim_start_matches('(').trim_end_matches([')', '.', ',', ';']);
        let is_unit = ["s", "min", "h", "d"].contains(&trimmed);
        if is_unit && kept.last().is_some_and(|last| last.trim_start_matches('(').parse::<u64>().is_ok()) {
            kept.pop();
            if kept.last() != Some(&"TIME") {
                kept.push("TIME");
            }
            continue;
        }
        kept.push(word);
    }
    kept.join(" ")
}
