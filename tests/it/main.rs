//! The tests that need real stores: one binary, which starts its own Redis and PostgreSQL.

#![allow(missing_docs, reason = "the names of tests are sentences")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test and its helpers fail by panicking"
)]

mod api;
mod at_once;
mod bad_input;
#[path = "../faults/checker/mod.rs"]
mod checker;
mod checking;
mod clearing;
mod codes;
mod commands;
#[cfg(feature = "crash-points")]
mod crash;
#[cfg(feature = "crash-points")]
mod crash_stops;
mod dashboard;
mod description;
mod doubts;
mod events;
mod faults;
#[path = "../faults/history.rs"]
mod history;
mod logs;
mod lottery;
mod metrics;
mod models;
mod opening;
mod operators;
mod outages;
mod pages;
mod payments;
mod plumbing;
mod proxy;
mod queue;
mod queue_losses;
mod queue_promotion;
mod queue_rush;
mod queue_scripts;
mod reservations;
mod samples;
mod seats;
mod security;
mod shapes;
mod shards;
mod support;
mod withheld;
