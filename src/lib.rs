//! Onsale: a fair waiting line, seats that are never sold twice, and a wallet charged exactly once.

#![forbid(unsafe_code)]

// The domain, in the order a buyer meets it.
pub mod concerts;
pub mod queue;
pub mod seats;

// Plumbing: knows no slice.
pub mod http;
pub mod local;
pub mod postgres;
pub mod redis;
pub mod scheduler;
pub mod telemetry;
pub mod words;
