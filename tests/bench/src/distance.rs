//! A proxy that makes a server as far away as servers are: it adds to every round trip.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;

/// What a sleep takes longer than it was asked to: the kernel's timer slack.
const SLACK: Duration = Duration::from_micros(50);

/// Bytes on their way to a client.
struct Parcel {
    due: Instant,
    bytes: Vec<u8>,
    client: UnboundedSender<Vec<u8>>,
}

/// Puts the server at `target` farther away, and says where it can be reached then. Runs in threads of
/// its own until the process ends.
pub(crate) fn add(target: SocketAddr, delay: Duration) -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (line, parcels) = mpsc::channel();
    thread::Builder::new().name("distance".into()).spawn(move || carry(&parcels))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("proxy".into()).spawn(move || {
        if let Err(error) = runtime.block_on(accept(listener, target, delay, line)) {
            tracing::error!("the proxy ended: {error:#}");
        }
    })?;
    Ok(address)
}

/// All parcels travel equally long, so they arrive in the order in which they left. tokio's timers have
/// a resolution of a millisecond, which is more than the whole way.
fn carry(parcels: &mpsc::Receiver<Parcel>) {
    while let Ok(Parcel { due, bytes, client }) = parcels.recv() {
        if let Some(rest) = due.checked_duration_since(Instant::now() + SLACK) {
            thread::sleep(rest);
        }
        // A client that has hung up gets nothing any more.
        let _ = client.send(bytes);
    }
}

async fn accept(
    listener: std::net::TcpListener,
    target: SocketAddr,
    delay: Duration,
    line: mpsc::Sender<Parcel>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let server = TcpStream::connect(target).await.context("the server is not there")?;
        tokio::spawn(connect(client, server, delay, line.clone()));
    }
}

async fn connect(client: TcpStream, server: TcpStream, delay: Duration, line: mpsc::Sender<Parcel>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (arrive, mut arrivals) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    tokio::spawn(async move {
        while let Some(bytes) = arrivals.recv().await {
            if to_client.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
        let parcel =
            Parcel { due: Instant::now() + delay, bytes: buffer[..count].to_vec(), client: arrive.clone() };
        if line.send(parcel).is_err() {
            return;
        }
    }
}
