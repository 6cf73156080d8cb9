//! A TCP proxy in front of a server, which cuts its connections when a test wants it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Forwards connections until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    cuts: watch::Sender<()>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of `target` (`host:port`), at a port of its own. Open or closed at first.
    pub async fn new(target: &str, is_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let open = Arc::new(AtomicBool::new(is_open));
        let cuts = watch::Sender::new(());
        let (target, lets_through, cut) = (target.to_owned(), Arc::clone(&open), cuts.clone());
        let accepting = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.expect("accepts");
                let (target, mut cut) = (target.clone(), cut.subscribe());
                // What is not let through is dropped.
                if lets_through.load(Ordering::SeqCst) {
                    tokio::spawn(async move {
                        let Ok(mut server) = TcpStream::connect(target).await else { return };
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut server) => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Self { address, open, cuts, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Where to connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.cuts.send_replace(());
    }

    /// Lets new connections through, or not.
    pub fn open(&self, is_open: bool) {
        self.open.store(is_open, Ordering::SeqCst);
    }
}
