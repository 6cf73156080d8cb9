//! A guide in nine chapters. Each stands by itself; newcomers start with the [`tutorial`].
//!
//! | chapter | answers |
//! |---|---|
//! | [`tutorial`] | How do I get from an empty project to a delivered message? |
//! | [`consumers`] | What happens on the receiving side, and what happens when a handler fails? |
//! | [`check_back`] | How is the outcome of a call found out after a crash, and what do I have to write for it? |
//! | [`callers_transaction`] | How do I send from within a transaction that is opened elsewhere, or by another client than sqlx? |
//! | [`deciding`] | How does a body send what only it can know: several messages, or none? |
//! | [`delays`] | How do I send later, or not too late, and in another format than JSON? |
//! | [`testing`] | How do I test my functions, including the crashes? |
//! | [`operations`] | What do I do with a parked or dead message, and how do I deploy? |
//! | [`migrating_from_outbox`] | How do I replace a hand-written outbox table? |
//!
//! The examples need the features `sqlite`, `postgres`, `rabbitmq` and `testing`; a single example needs only
//! those that it uses. All of them are compiled as tests of this crate, and those on SQLite are run.

#[doc = include_str!("callers_transaction.md")]
pub mod callers_transaction {}
#[doc = include_str!("check_back.md")]
pub mod check_back {}
#[doc = include_str!("consumers.md")]
pub mod consumers {}
#[doc = include_str!("deciding.md")]
pub mod deciding {}
#[doc = include_str!("delays.md")]
pub mod delays {}
#[doc = include_str!("migrating_from_outbox.md")]
pub mod migrating_from_outbox {}
#[doc = include_str!("operations.md")]
pub mod operations {}
#[doc = include_str!("testing.md")]
pub mod testing {}
#[doc = include_str!("tutorial.md")]
pub mod tutorial {}
