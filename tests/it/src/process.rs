//! A process that can be killed, or stand still: a runtime of its own on a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Runs a future, and what it spawns, on one thread. Blocking that thread stops its workers, too,
/// as when a virtual machine is paused.
#[derive(Debug)]
pub struct Process {
    kill: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Process {
    /// Starts `main`, made on the new thread.
    pub fn start<F, Fut>(main: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let (kill, killed) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = main() => {}
                    _ = killed => {}
                }
            });
            // Nothing is polled from here on: no report leaves, no lease is renewed.
        });
        Self { kill, thread }
    }

    /// Ends it at once, whatever it is doing.
    pub async fn kill(self) {
        let _ = self.kill.send(());
        join(self.thread).await;
    }

    /// Waits until `main` has ended.
    pub async fn join(self) {
        let Self { kill, thread } = self;
        join(thread).await;
        drop(kill);
    }
}

async fn join(thread: JoinHandle<()>) {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await.expect("waited");
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}

/// Where a body stands still, and blocks its thread, until it is told to go on.
#[derive(Debug)]
pub struct Gate(Mutex<Receiver<()>>);

/// A gate, and what opens it.
pub fn gate() -> (Sender<()>, Gate) {
    let (open, gate) = channel();
    (open, Gate(Mutex::new(gate)))
}

impl Gate {
    /// Blocks the thread.
    pub fn wait(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().expect("told to go on");
    }
}
