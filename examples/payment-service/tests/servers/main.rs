//! The example on PostgreSQL and RabbitMQ, as people run it: a process over HTTP, under load, while
//! its servers and itself are killed. The books are compared each time; Prometheus watches, and a receiver of traces.

#![allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]

mod books;
mod harm;
mod load;
mod mishaps;
mod monitoring;
mod quiet;
mod receiver;
mod service;
mod traces;
mod watch;
mod witness;

/// What harms shares it; what must see no warning has it for itself: when five pairs of servers start at once on two
/// cores, a connection takes more than the 5 s that the service waits for one.
static MACHINE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());
