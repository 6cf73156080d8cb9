//! A TCP proxy in front of a server, which cuts its connections when a test wants it, to the byte,
//! keeps a reply back, takes its time, or falls silent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// More than a request or a reply that a test is about.
const CHUNK: usize = 64 * 1024;

/// Forwards connections until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

/// What is done to a request, or to its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Nothing; but their lengths are noted.
    Measure,
    /// So many bytes of the request get through; then the connection is cut.
    CutRequest(usize),
    /// The request gets through, and so many bytes of the reply; then the connection is cut.
    CutReply(usize),
    /// The reply is kept back until [`Proxy::release`].
    KeepReply,
    /// The connection is cut, and the same is done to each later request that has the marker in it.
    CutEach,
}

/// How long a request and its reply were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of the request.
    pub request: usize,
    /// Bytes of the reply.
    pub reply: usize,
}

#[derive(Debug)]
struct Control {
    callers: AtomicUsize,
    target: Mutex<String>,
    open: watch::Sender<bool>,
    cuts: watch::Sender<()>,
    releases: watch::Sender<()>,
    silent: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
    next: Mutex<Option<(Vec<u8>, Trick)>>,
    lengths: watch::Sender<Lengths>,
}

impl Proxy {
    /// In front of `target` (`host:port`), at a port of its own. Open or closed at first.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn new(target: &str, is_open: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let control = Arc::new(Control {
            callers: AtomicUsize::new(0),
            target: Mutex::new(target.to_owned()),
            open: watch::Sender::new(is_open),
            cuts: watch::Sender::new(()),
            releases: watch::Sender::new(()),
            silent: watch::Sender::new(false),
            delay: watch::Sender::new(Duration::ZERO),
            next: Mutex::default(),
            lengths: watch::Sender::new(Lengths::default()),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&control)));
        Ok(Self { address, control, accepting })
    }

    /// Where to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often somebody has connected, let through or not.
    pub fn callers(&self) -> usize {
        self.control.callers.load(Ordering::SeqCst)
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.control.cuts.send_replace(());
    }

    /// From now on, new connections lead there; those that are open end. As an address does that moves with the primary.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut self.control.target());
        self.cut();
    }

    /// Lets new connections through, or not.
    pub fn open(&self, is_open: bool) {
        self.control.open.send_replace(is_open);
    }

    /// Falls silent: connections stay open, and new ones are taken, but nothing gets through, not even
    /// that one side has hung up. As when a cable is pulled, or a firewall forgets a connection. Or
    /// goes on, with all that was kept back.
    pub fn silence(&self, is_silent: bool) {
        self.control.silent.send_replace(is_silent);
    }

    /// Takes this long to let anything through, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.control.delay.send_replace(delay);
    }

    /// Plays a trick on the next request that has `marker` in it; [`Trick::CutEach`] on each.
    pub fn play(&self, marker: &str, trick: Trick) {
        *self.control.next() = Some((marker.as_bytes().to_vec(), trick));
    }

    /// Whether the trick was played.
    pub fn was_played(&self) -> bool {
        self.control.next().is_none()
    }

    /// Lets replies through that were kept back.
    pub fn release(&self) {
        self.control.releases.send_replace(());
    }

    /// What was measured last.
    pub fn lengths(&self) -> Lengths {
        *self.control.lengths.borrow()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Control {
    fn next(&self) -> MutexGuard<'_, Option<(Vec<u8>, Trick)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> MutexGuard<'_, String> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may get through.
    async fn passage(&self) {
        let delay = *self.delay.borrow();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // An error would be that there is no proxy any more.
        let _ = self.silent.subscribe().wait_for(|is_silent| !is_silent).await;
    }

    /// The trick to be played on this request. The marker may have begun in what was read `before`.
    fn trick(&self, before: &mut Vec<u8>, request: &[u8]) -> Option<Trick> {
        let mut next = self.next();
        let marker_length = next.as_ref().map_or(0, |(marker, _)| marker.len());
        before.extend_from_slice(request);
        let read = before.clone();
        before.drain(..before.len().saturating_sub(marker_length.saturating_sub(1)));
        let is_it = |(marker, _): &(Vec<u8>, Trick)| read.windows(marker.len()).any(|bytes| bytes == marker);
        match &*next {
            Some(cursed @ (_, Trick::CutEach)) if is_it(cursed) => Some(Trick::CutEach),
            Some(other) if is_it(other) => next.take().map(|(_, trick)| trick),
            _ => None,
        }
    }
}

async fn accept(listener: TcpListener, control: Arc<Control>) {
    // An error is about a client that has left.
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        control.callers.fetch_add(1, Ordering::SeqCst);
        // What is not let through is dropped.
        if *control.open.borrow() {
            let target = control.target().clone();
            let (control, mut cut) = (Arc::clone(&control), control.cuts.subscribe());
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(target).await else { return };
                tokio::select! {
                    _ = forward(client, server, &control) => {}
                    _ = cut.changed() => {}
                }
            });
        }
    }
}

/// Until one of both ends it, or a trick does.
async fn forward(mut client: TcpStream, mut server: TcpStream, control: &Control) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut releases = control.releases.subscribe();
    let (mut request, mut reply) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut trick, mut replied, mut before) = (None, 0, Vec::new());
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let request = &request[..read?];
                control.passage().await;
                if request.is_empty() {
                    return Ok(());
                }
                if let Some(played) = control.trick(&mut before, request) {
                    (trick, replied) = (Some(played), 0);
                    control.lengths.send_replace(Lengths { request: request.len(), reply: 0 });
                } else if trick != Some(Trick::KeepReply) {
                    trick = None;
                }
                match trick {
                    Some(Trick::CutRequest(length)) => return server.write_all(&request[..length]).await,
                    Some(Trick::CutEach) => return Ok(()),
                    _ => {}
                }
                server.write_all(request).await?;
                if trick == Some(Trick::CutReply(0)) {
                    return Ok(());
                }
            }
            read = server.read(&mut reply), if trick != Some(Trick::KeepReply) => {
                let reply = &reply[..read?];
                control.passage().await;
                if reply.is_empty() {
                    return Ok(());
                }
                if let Some(Trick::CutReply(length)) = trick
                    && length <= replied + reply.len()
                {
                    return client.write_all(&reply[..length - replied]).await;
                }
                replied += reply.len();
                // Before the client has it, and asks for the length.
                if trick == Some(Trick::Measure) {
                    control.lengths.send_modify(|lengths| lengths.reply = replied);
                }
                client.write_all(reply).await?;
            }
            _ = releases.changed(), if trick == Some(Trick::KeepReply) => trick = None,
        }
    }
}
