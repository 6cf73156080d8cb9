//! Ports that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::Context;

/// Below those that the system gives to clients: while a server is down, a client that tries again
/// and again would sooner or later get the server's port for itself, and even be connected to itself.
const PORTS: Range<u16> = 10_000..32_000;
const ATTEMPTS: u32 = 1000;

/// As many different ports. Somebody may take one before it is used: see [`is_free`].
pub(crate) fn free<const N: usize>() -> anyhow::Result<[u16; N]> {
    // All are held until the last is found, or one could be found twice.
    let mut held = Vec::new();
    for _ in 0..ATTEMPTS {
        if held.len() == N {
            break;
        }
        let port = fastrand::u16(PORTS);
        held.extend(listen(Ipv4Addr::LOCALHOST, port).map(|listener| (port, listener)));
    }
    let ports: Vec<u16> = held.into_iter().map(|(port, _)| port).collect();
    ports.try_into().ok().with_context(|| format!("no free ports among {PORTS:?} on 127.0.0.1"))
}

pub(crate) fn is_free(address: Ipv4Addr, port: u16) -> bool {
    listen(address, port).is_some()
}

fn listen(address: Ipv4Addr, port: u16) -> Option<TcpListener> {
    TcpListener::bind((address, port)).ok()
}
