//! The waiting line: everybody holds a number, and a board shows the number being served.
//!
//! A person's **place** is given once, in order of arrival, and travels inside the signed token. A
//! server knows a line by its **board**, one small reading every 250 ms, so a poll of somebody who
//! waits asks no store. Read in this order: [`token`] (the number, signed), [`dead`] (numbers that
//! will never be served), [`board`] (one immutable snapshot), [`catch_up`] (making boards from
//! readings), [`pace`] (how fast the line was really served), [`estimate`] (waits and polls).
//!
//! # Invariants
//!
//! * The same place always gives the same token; a forged one is refused before any look-up.
//! * A board is complete (every dead number up to its ordinal) and of one generation, or not used.
//! * A position has no gaps and, on boards of one generation, never grows.

pub mod board;
#[cfg(test)]
mod board_model;
pub mod catch_up;
pub mod dead;
#[cfg(test)]
mod drain_model;
pub mod estimate;
pub mod pace;
pub mod token;
mod token_keys;

pub use board::{Board, BoardFacts, BoardReading, LineSettings, OnBoard};
pub use catch_up::{Ask, BoardBuilder, Progress};
pub use dead::{DeadEntry, PlaceRange};
pub use estimate::{Outlook, PollAfter};
pub use token::{Token, TokenId, TokenInvalid, TokenKeyFault, TokenKeys};
