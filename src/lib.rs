//! Onsale: a fair waiting line, seats that are never sold twice, and a wallet charged exactly once.
//!
//! Slices outside ([`queue`], [`seats`], [`payments`]), the same file names as layers inside each,
//! and small shared plumbing that knows no slice. [`app`] holds the one router with every route.

#![forbid(unsafe_code)]

#[cfg(all(any(feature = "crash-points", feature = "mutants"), not(debug_assertions)))]
compile_error!(
    "the features crash-points and mutants break a server on demand: for debug builds only"
);

pub mod app;
pub mod auth;
pub mod commands;
pub mod config;
pub mod openapi;

// The domain, in the order a buyer meets it.
pub mod concerts;
pub mod ops;
pub mod payments;
pub mod queue;
pub mod seats;

// What people see.
pub mod web;

// Plumbing: knows no slice.
pub mod crash;
pub mod http;
pub mod local;
pub mod metrics;
pub mod mutant;
pub mod postgres;
pub mod redis;
pub mod scheduler;
pub mod telemetry;
pub mod words;

// For tests and fuzzers alone.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
