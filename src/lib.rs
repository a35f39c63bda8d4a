//! Onsale: a fair waiting line, seats that are never sold twice, and a wallet charged exactly once.

#![forbid(unsafe_code)]

pub mod concerts;
pub mod local;
pub mod postgres;
pub mod queue;
pub mod redis;
pub mod seats;
pub mod words;

pub mod http;
