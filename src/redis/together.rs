//! `GET`s of concurrent requests, which travel together as one `MGET`.
//!
//! Every request of somebody who was let in reads a key or two. Sent one by one each costs Redis a
//! turn of its event loop and the client library its bookkeeping, which together are many times
//! the look-up itself. As with arrivals there is no timer: one group is out, and the next is
//! whatever came meanwhile.
//!
//! A read is sent after it was asked for, so it sees everything that was answered before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fred::bytes_utils::Str;
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::client::{Command, tag_of};
use super::{Key, Redis, RedisError};
use crate::metrics::Calls;

/// The most keys of one `MGET`: some 50 µs of Redis.
const KEYS_MAX: usize = 256;
/// The most reads that wait for their group; more are refused.
const WAITING_MAX: usize = 16_384;

/// The least time for a group whose first read has waited for nearly as long as it may.
const TIMEOUT_MIN: Duration = Duration::from_millis(50);

type Answer = Result<Option<String>, RedisError>;

struct Read {
    key: Str,
    /// Nobody waits for it any longer than for a read that is sent at once.
    overdue_at: Instant,
    answer: oneshot::Sender<Answer>,
}

/// The reads of one route through Redis.
#[derive(Default)]
struct Waiting {
    reads: Vec<Read>,
    is_sending: bool,
}

/// The reads that wait for their group; each group has keys of one cluster slot.
#[derive(Default)]
pub(super) struct Reads {
    slots: Mutex<HashMap<Str, Waiting>>,
    /// How the groups went.
    pub calls: Calls,
}

impl Reads {
    /// Adds a read; true if the caller must start to send.
    fn add(&self, slot: &Str, read: Read) -> Result<bool, RedisError> {
        let mut slots = self.slots.lock();
        if !slots.contains_key(slot) {
            slots.insert(slot.clone(), Waiting::default());
        }
        let waiting = slots.get_mut(slot).ok_or(RedisError::Overloaded)?;
        if waiting.reads.len() >= WAITING_MAX {
            return Err(RedisError::Overloaded);
        }
        waiting.reads.push(read);
        Ok(!std::mem::replace(&mut waiting.is_sending, true))
    }

    /// The next group; empty when nobody is left, and then sending has ended.
    fn next(&self, slot: &Str) -> Vec<Read> {
        let mut slots = self.slots.lock();
        let Some(waiting) = slots.get_mut(slot) else {
            return Vec::new();
        };
        // Whoever hung up needs no answer.
        waiting.reads.retain(|read| !read.answer.is_closed());
        // Whoever has waited for other groups for as long as a command may take is answered now.
        let now = Instant::now();
        let overdue = waiting.reads.partition_point(|read| read.overdue_at <= now);
        for read in waiting.reads.drain(..overdue) {
            let _ = read.answer.send(Err(RedisError::Overloaded));
        }
        let count = waiting.reads.len().min(KEYS_MAX);
        let group: Vec<_> = waiting.reads.drain(..count).collect();
        if group.is_empty() {
            // A slot in use is made again at once; one of a concert that is gone is not kept.
            slots.remove(slot);
        }
        group
    }
}

/// Ends sending when the task ends in any other way than by an empty slot.
struct Sending<'a> {
    redis: &'a Redis,
    slot: &'a Str,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.redis.0.reads.slots.lock().remove(self.slot);
        }
    }
}

impl Redis {
    /// `GET`, in one group with whoever reads meanwhile.
    pub async fn get(&self, key: &Key) -> Answer {
        if !self.node_of(&key.0)?.is_up() {
            return Err(self.away());
        }
        let slot = self.slot_of(key);
        let (answer, answered) = oneshot::channel();
        let overdue_at = Instant::now() + self.0.timeout;
        if self.0.reads.add(&slot, Read { key: key.0.clone(), overdue_at, answer })? {
            tokio::spawn(self.clone().send_reads(slot));
        }
        answered.await.unwrap_or(Err(RedisError::Unavailable))
    }

    /// What keys must share to travel together: nothing, or in a cluster their hash tag.
    fn slot_of(&self, key: &Key) -> Str {
        if self.is_cluster() { tag_of(&key.0) } else { Str::new() }
    }

    async fn send_reads(self, slot: Str) {
        let sending = Sending { redis: &self, slot: &slot };
        loop {
            // Whoever is being read from a socket right now travels along.
            tokio::task::yield_now().await;
            let group = self.0.reads.next(sending.slot);
            if group.is_empty() {
                return;
            }
            let args = group.iter().map(|read| Value::String(read.key.clone())).collect();
            let (what, name, key_at) = ("MGET", "MGET", 0);
            // The first has waited longest; the rest would be told no later if they went alone.
            let timeout = group.first().map(|read| {
                read.overdue_at.saturating_duration_since(Instant::now()).max(TIMEOUT_MIN)
            });
            let command = Command { what, name, key_at, args, timeout, only_reads: true };
            let sent = Instant::now();
            let outcome = self.send(command).await.map(Value::into_array);
            match outcome {
                Ok(values) => {
                    self.0.reads.calls.answered(sent.elapsed());
                    let mut values = values.into_iter();
                    for read in group {
                        let value = values.next().and_then(Value::into_string);
                        let _ = read.answer.send(Ok(value));
                    }
                }
                Err(error) => {
                    self.0.reads.calls.failed();
                    for read in group {
                        let _ = read.answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}
