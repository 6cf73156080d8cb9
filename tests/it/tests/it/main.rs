//! What does not depend on the database, or is about several.

#![allow(clippy::large_futures, reason = "tests: nobody waits for them by the thousand")]

mod documents;
mod kinds;
mod misconfiguration;
mod rabbitmq_added;
mod rabbitmq_consumer;
mod rabbitmq_delivery;
mod rabbitmq_foreign;
mod rabbitmq_harm;
mod rabbitmq_outage;
mod rabbitmq_paused;
mod rabbitmq_queues;
mod rabbitmq_refusals;
mod rabbitmq_rights;
mod rabbitmq_services;
mod rabbitmq_setup;
mod restored_store;

type World = it::World<it::SqliteFiles>;
