//! The waiting line: everybody holds a number, and a board shows the number being served.
//!
//! A person's **place** is given once, in order of arrival, and travels inside the signed token. A
//! server knows a line by its **board**, one small reading every 250 ms, so a poll of somebody who
//! waits asks no store. Read in this order: [`token`] (the number, signed), [`dead`] (numbers that
//! will never be served), [`board`] (one immutable snapshot), [`catch_up`] (making boards from
//! readings), [`draw`] (the order of a lottery), [`pace`] (how fast the line was really served),
//! [`estimate`] (waits and polls). Then what needs the stores: [`scripts`], [`promotion`] and
//! [`token_scripts`] (the atomic steps in `lua/queue/`), `line` (what a server keeps of one line),
//! `arrivals` (group commit), `boards` (reading boards), `lottery` (what it keeps of a draw),
//! [`service`] (arrive, ask, leave), [`standing`] (what people are told), [`fairness`] (what anybody
//! may check), [`listening`] and [`events`] (being told instead of asking), [`admission`] (who may
//! use the protected routes), [`settings`] (what operators change), [`audit`] (the notes of it),
//! [`controls`] (whom they look up, and clearing the line), [`jobs`] (promotion).
//!
//! # Invariants
//!
//! * The same place always gives the same token; a forged one is refused before any look-up.
//! * A board is complete (every dead number up to its ordinal) and of one generation, or not used.
//! * A position has no gaps and, on boards of one generation, never grows.

pub mod admission;
mod arrivals;
pub mod audit;
pub mod board;
#[cfg(test)]
mod board_model;
mod boards;
pub mod catch_up;
pub mod config;
pub mod controls;
pub mod dead;
#[cfg(test)]
mod drain_model;
pub mod draw;
pub mod error;
pub mod estimate;
pub mod events;
pub mod fairness;
pub mod jobs;
mod line;
pub mod listening;
mod lottery;
pub mod pace;
pub mod promotion;
pub mod routes;
pub mod scripts;
pub mod service;
pub mod settings;
pub mod standing;
pub mod token;
mod token_keys;
pub mod token_scripts;

pub use admission::{Admission, Admitted};
pub use board::{Board, BoardFacts, BoardReading, LineSettings, OnBoard, Phase};
pub use catch_up::{Ask, BoardBuilder, Progress};
pub use config::QueueConfig;
pub use dead::{DeadEntry, PlaceRange};
pub use error::QueueError;
pub use estimate::{Outlook, PollAfter};
pub use jobs::{PROMOTE_JOB, PromoteReport};
pub use scripts::{SCRIPTS, Settled};
pub use service::{Joined, Queue};
pub use settings::{BeaconValue, Change, Message, MessageFault, Moment, SettingsChange};
pub use standing::{Standing, Status};
pub use token::{Token, TokenId, TokenInvalid, TokenKeyFault, TokenKeys};

/// A board, as the other slices call it.
pub type BoardSnapshot = Board;
