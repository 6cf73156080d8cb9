//! The example on PostgreSQL and RabbitMQ, as people run it: a process over HTTP, under load, while
//! its servers and itself are killed. The books are compared each time.

#![allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]

mod books;
mod harm;
mod load;
mod quiet;
mod service;
mod witness;
