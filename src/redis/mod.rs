//! Redis: the guarded connections, the scripts that run on it, and the names of all keys.
//!
//! The only module that knows the client library. Everything else says *what* it wants: a
//! [`ScriptCall`] (an atomic step) or one of the few plain reads on [`Redis`].
//!
//! Read in this order: [`keys`] (every key, in one place), [`script`] (one Lua file = one atomic
//! step), [`reply`] (what a script answered), [`client`] (the way of a call), `node` (one Redis:
//! timeouts, breaker), `watch` and `topology` (which Redis, under Sentinels and in a cluster),
//! `runner` (running a script, and what happens when Redis has forgotten it), `reads` (the few plain
//! reads), [`error`] (what a caller may conclude from a failure), `health` (how the calls went).
//!
//! # Invariants
//!
//! * A script runs at least once per call, never exactly once: the library re-sends after a
//!   reconnect, so every script is safe to repeat.
//! * A script that Redis does not know is never sent with `EVAL`: a forgotten script is a sign of
//!   a new Redis process or a promoted one (not the only sign: ADR 10), and [`Redis::on_forgotten`] settles the lines before anything is loaded.
//! * No call waits longer than its timeout, and none is queued while Redis does not answer.

pub mod client;
pub mod config;
pub mod error;
mod health;
pub mod keys;
mod node;
mod options;
mod reads;
pub mod reply;
mod runner;
pub mod script;
mod servers;
mod together;
mod topology;
mod watch;
#[cfg(any(test, fuzzing))]
mod written;

pub use client::{Redis, Shard};
pub use config::RedisConfig;
pub use error::RedisError;
pub use health::{CallsHealth, NodeHealth};
pub use keys::{ConcertKeys, Key};
pub use reply::{Reply, ReplyFault};
pub use script::{Args, LuaScript, ScriptCall};
pub use servers::{RedisSentinel, RedisServer};
#[cfg(any(test, fuzzing))]
pub(crate) use written::WrittenAnswer;
