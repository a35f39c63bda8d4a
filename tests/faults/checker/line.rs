//! The line, between losses of data: who comes in, in which order, and how many (Q1 to Q8).

use std::collections::HashMap;
use std::time::Duration;

use super::Verdict;
use super::index::{Index, Place, is_ok, ok_body, place_of, refusal, token_of};
use crate::history::{Call, Op, Outcome};

/// With free capacity and somebody waiting, a promotion comes within this.
const PROMOTION_US: u64 = 3_000_000;

pub fn check(index: &Index) -> Vec<Verdict> {
    let tokens = tokens(index);
    vec![
        q1(index),
        q2(index, &tokens),
        q3(index),
        q4(index, &tokens),
        q5(index, &tokens),
        q6(index, &tokens),
        q7(index),
        q8(index, &tokens),
    ]
}

/// What an answer says of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Waiting,
    Active,
    Gone,
}

/// What is known of one token.
#[derive(Default)]
struct Token<'a> {
    /// The arrival that was answered with it first.
    joined: Option<&'a Op>,
    /// The arrival that was given it, if its answer came.
    came: Option<&'a Op>,
    user: Option<u64>,
    seen: Vec<(&'a Op, State)>,
}

impl Token<'_> {
    /// Between which moments it surely was alive.
    fn alive(&self, board_age_us: u64) -> Option<(u64, u64)> {
        let live = || self.seen.iter().filter(|(_, state)| *state != State::Gone);
        let from_us = live().map(|(op, _)| op.returned_us).min()?;
        let to_us = live().map(|(op, _)| op.invoked_us.saturating_sub(board_age_us)).max()?;
        (from_us < to_us).then_some((from_us, to_us))
    }

    fn last_waiting_us(&self) -> Option<u64> {
        let waiting = self.seen.iter().filter(|(_, state)| *state == State::Waiting);
        waiting.map(|(op, _)| op.invoked_us).max()
    }

    fn first_active_us(&self) -> Option<u64> {
        let active = self.seen.iter().filter(|(_, state)| *state == State::Active);
        active.map(|(op, _)| op.returned_us).min()
    }
}

/// What an answer says of the token that was sent, if anything.
pub fn state(op: &Op) -> Option<State> {
    if let Some((_, code)) = refusal(op) {
        return match code {
            "still-waiting" => Some(State::Waiting),
            "token-expired" => Some(State::Gone),
            _ => None,
        };
    }
    let body = ok_body(op)?;
    match &op.call {
        Call::Join { .. } | Call::Poll { .. } => match body["status"].as_str()? {
            "waiting" | "sold-out" => Some(State::Waiting),
            "active" => Some(State::Active),
            _ => None,
        },
        // A token that has bought may still ask for these.
        Call::Pay { .. } | Call::Balance { .. } | Call::Reservations { .. } => None,
        Call::Leave { .. } => Some(State::Gone),
        _ => Some(State::Active),
    }
}

fn tokens<'a>(index: &Index<'a>) -> HashMap<Place, Token<'a>> {
    let mut tokens: HashMap<Place, Token> = HashMap::new();
    for (place, ops) in &index.by_place {
        let token = tokens.entry(*place).or_default();
        for op in ops {
            token.seen.extend(state(op).map(|state| (*op, state)));
        }
        let arrivals = || ops.iter().filter(|op| matches!(op.call, Call::Join { .. }));
        token.joined = arrivals().min_by_key(|op| op.returned_us).copied();
        // 200 repeats what an earlier arrival was given, whose answer may have been lost.
        let is_new = |op: &&&Op| matches!(op.outcome, Outcome::Ok { status: 201, .. });
        token.came = arrivals().find(is_new).copied();
        token.user = token.joined.and_then(|op| match op.call {
            Call::Join { user, .. } => user,
            _ => None,
        });
    }
    tokens
}

/// Active tokens never exceed the capacity.
fn q1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("Q1");
    for sample in &index.history.samples {
        verdict.expect(sample.active <= sample.capacity, || format!("{sample:?}"));
    }
    verdict
}

/// Nobody is promoted before somebody who surely came earlier and still waits.
fn q2(index: &Index, tokens: &HashMap<Place, Token>) -> Verdict {
    let mut verdict = Verdict::new("Q2");
    let age_us = index.history.setup.board_age_us;
    for (place, early) in tokens {
        let (Some(joined), Some(waited_us)) = (early.joined, early.last_waiting_us()) else {
            continue;
        };
        if index.board_lost_between(joined.invoked_us, waited_us) {
            continue;
        }
        for (other, late) in tokens.iter().filter(|(other, _)| other.0 == place.0) {
            let (Some(came), Some(active_us)) = (late.came, late.first_active_us()) else {
                continue;
            };
            if joined.returned_us < came.invoked_us {
                verdict.expect(waited_us < active_us + age_us, || {
                    format!("place {} was let in while place {} waited", other.1, place.1)
                });
            }
        }
    }
    verdict
}

/// A position never grows for whoever polls as told, on any server: whoever asks sooner than
/// `pollAfter` may meet a server whose board is older than what he was told.
fn q3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("Q3");
    let age_us = index.history.setup.board_age_us;
    for (place, ops) in &index.by_place {
        let mut told: Vec<_> = ops.iter().filter_map(|op| standing(op)).collect();
        told.sort_by_key(|(op, _)| op.invoked_us);
        for (after, new) in &told {
            let before = told.iter().filter(|(before, _)| {
                as_told_us(before, age_us) <= after.invoked_us
                    && !index.board_lost_between(before.invoked_us, after.returned_us)
            });
            if let Some((before, old)) = before.min_by_key(|(_, position)| position) {
                verdict.expect(new <= old, || {
                    format!(
                        "place {}: position {old} in operation {}, then {new} in operation {}",
                        place.1, before.id, after.id
                    )
                });
            }
        }
    }
    verdict
}

/// The position that an answer tells.
fn standing(op: &Op) -> Option<(&Op, u64)> {
    match op.call {
        Call::Join { .. } | Call::Poll { .. } => {
            Some((op, ok_body(op)?["queuePosition"].as_u64()?))
        }
        _ => None,
    }
}

/// From when on a poll comes as this answer told. An active token is not told to poll: it may as
/// soon as no board is older.
fn as_told_us(answer: &Op, board_age_us: u64) -> u64 {
    let seconds = ok_body(answer).and_then(|body| body["pollAfter"].as_f64());
    let after = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let after = after.unwrap_or(Duration::from_micros(board_age_us));
    answer.returned_us.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX))
}

/// From, to, and the place's number.
type Life = (u64, u64, u64);

/// One live token per user.
fn q4(index: &Index, tokens: &HashMap<Place, Token>) -> Verdict {
    let mut verdict = Verdict::new("Q4");
    let age_us = index.history.setup.board_age_us;
    let mut by_user: HashMap<(u32, u64), Vec<Life>> = HashMap::new();
    for (place, token) in tokens {
        if let (Some(user), Some((from_us, to_us))) = (token.user, token.alive(age_us)) {
            by_user.entry((place.0, user)).or_default().push((from_us, to_us, place.1));
        }
    }
    for ((_, user), mut alive) in by_user {
        alive.sort_unstable();
        verdict.checked += 1;
        for pair in alive.windows(2) {
            let [(from_us, until_us, first), (since_us, to_us, second)] = pair else { continue };
            // A place that was left may come back with the data that was.
            if !index.board_lost_between(*from_us, *until_us.max(to_us)) {
                verdict.expect(until_us <= since_us, || {
                    format!("user {user} had the places {first} and {second} at once")
                });
            }
        }
    }
    verdict
}

/// Waiting, then active, then gone; never back.
fn q5(index: &Index, tokens: &HashMap<Place, Token>) -> Verdict {
    let mut verdict = Verdict::new("Q5");
    let age_us = index.history.setup.board_age_us;
    for (place, token) in tokens {
        for (before, was) in &token.seen {
            for (after, is) in &token.seen {
                let apart = before.returned_us + age_us < after.invoked_us;
                if apart && !index.board_lost_between(before.invoked_us, after.returned_us) {
                    verdict.expect(was <= is, || {
                        format!(
                            "place {} was {was:?}, then {is:?} in operation {}",
                            place.1, after.id
                        )
                    });
                }
            }
        }
    }
    verdict
}

/// No protected request succeeds with a token that was surely not active.
fn q6(index: &Index, tokens: &HashMap<Place, Token>) -> Verdict {
    let mut verdict = Verdict::new("Q6");
    let age_us = index.history.setup.board_age_us;
    for op in index.history.ops.iter().filter(|op| is_ok(op)) {
        let protected = !matches!(op.call, Call::Join { .. } | Call::Poll { .. });
        let Some(token) = token_of(op).filter(|_| protected) else { continue };
        let Some(known) = place_of(token).and_then(|place| tokens.get(&place)) else {
            verdict.expect(false, || format!("operation {} succeeded with no token", op.id));
            continue;
        };
        if state(op) != Some(State::Active) {
            continue;
        }
        let before_its_turn = known.seen.iter().any(|(seen, state)| {
            *state == State::Waiting
                && op.returned_us + age_us < seen.invoked_us
                && !index.board_lost_between(op.invoked_us, seen.returned_us)
        });
        let after_its_end = known.seen.iter().any(|(seen, state)| {
            *state == State::Gone
                && seen.returned_us < op.invoked_us
                && !index.board_lost_between(seen.invoked_us, op.returned_us)
        });
        verdict.expect(!before_its_turn && !after_its_end, || {
            format!("operation {} succeeded with a token that was not active", op.id)
        });
    }
    verdict
}

/// issued = waiting + active + expired + consumed + left, at any moment: a loss of data takes from
/// both sides.
fn q7(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("Q7");
    for sample in &index.history.samples {
        verdict.expect(sample.issued == sample.accounted, || format!("{sample:?}"));
    }
    verdict
}

/// With free capacity and somebody waiting, a promotion comes within three seconds.
fn q8(index: &Index, tokens: &HashMap<Place, Token>) -> Verdict {
    let mut verdict = Verdict::new("Q8");
    let window_us = PROMOTION_US + index.history.setup.board_age_us;
    let recovery_us = index.history.setup.recovery_us;
    for concert in &index.history.setup.concerts {
        let samples: Vec<_> =
            index.history.samples.iter().filter(|sample| sample.concert == concert.id).collect();
        // The start of the time in which there was room and the number inside never grew.
        let mut idle_since = samples.first().map(|sample| sample.at_us);
        for pair in samples.windows(2) {
            let [before, after] = pair else { continue };
            if after.active >= after.capacity || after.active > before.active {
                idle_since = Some(after.at_us);
            }
            let since_us = idle_since.unwrap_or(after.at_us);
            if after.at_us - since_us < window_us {
                continue;
            }
            let disturbed =
                index.history.faults.iter().any(|fault| {
                    fault.from_us <= after.at_us && since_us <= fault.to_us + recovery_us
                });
            let somebody_waited = tokens.iter().any(|(place, token)| {
                place.0 == concert.id
                    && token.joined.is_some_and(|op| op.returned_us <= since_us)
                    && token.last_waiting_us().is_some_and(|at_us| {
                        after.at_us + index.history.setup.board_age_us <= at_us
                    })
            });
            if !disturbed {
                verdict.expect(!somebody_waited, || {
                    format!(
                        "concert {}: nobody let in from {since_us} to {}",
                        concert.id, after.at_us
                    )
                });
            }
            idle_since = Some(after.at_us);
        }
        verdict.checked += u64::from(!samples.is_empty());
    }
    verdict
}
