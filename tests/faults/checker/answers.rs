//! Answers and recovery: what was told stays true, everything comes back, and nothing leaks (A, R, X).

use std::collections::{BTreeSet, HashMap};

use super::index::{Index, Place, list, named_user, ok_body, place_of, refusal, text, token_of};
use super::line::{State, state};
use super::{Verdict, money};
use crate::history::{Call, Outcome, Span};

const LATE_US: u64 = 1_000_000;
/// Keys of a concert that stay, beside four for each of its dates.
const LASTING_KEYS: [&str; 16] = [
    "seq", "run", "dead", "skipped", "draw", "users", "pace", "stats", "waiting", "active",
    "settings", "epoch", "audit", "series", "servers", "polls",
];
const LASTING_KEYS_OF_DATES: [&str; 4] = ["sold:", "held:", "hold:", "version:"];

pub fn check(index: &Index) -> Vec<Verdict> {
    vec![
        a1(index),
        a2(index),
        a3(index),
        a4(index),
        a5(index),
        a6(index),
        r1(index),
        r2(index),
        r3(index),
        r4(index),
        r5(index),
        x1(index),
        x2(index),
        x3(index),
        x4(index),
    ]
}

/// Every 2xx about money or a sold seat stays true.
fn a1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("A1");
    for paid in &index.paid {
        let there = paid.payments.iter().all(|id| index.payments.contains_key(id.as_str()));
        verdict.expect(there, || format!("the payment of operation {} is gone", paid.op.id));
    }
    for charge in index.charges.iter().filter(|charge| !charge.ok.is_empty()) {
        let mut ledger = index.history.finals.ledger.iter();
        let there = ledger.any(|row| (row.user, row.amount) == (charge.user, charge.amount));
        verdict.expect(there, || format!("the charge of operation {} is gone", charge.ok[0].id));
    }
    verdict
}

/// A 2xx about a token or a hold stays true until its end, losses of data excepted.
fn a2(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("A2");
    let setup = &index.history.setup;
    for ops in index.by_place.values() {
        // Whoever has left or bought has no place any more.
        let given_up =
            ops.iter().filter(|op| matches!(op.call, Call::Leave { .. } | Call::Pay { .. }));
        let given_up_us = given_up.filter(|op| refusal(op).is_none()).map(|op| op.invoked_us).min();
        let waited: Vec<_> = ops.iter().filter(|op| state(op) == Some(State::Waiting)).collect();
        for gone in
            ops.iter().filter(|op| refusal(op).is_some_and(|(_, code)| code == "token-expired"))
        {
            let before = waited.iter().filter(|op| op.returned_us <= gone.invoked_us);
            let Some(last) = before.max_by_key(|op| op.invoked_us) else { continue };
            let lives_until_us =
                (last.invoked_us + setup.claim_ttl_us).saturating_sub(setup.board_age_us);
            let given_up = given_up_us.is_some_and(|at_us| at_us <= gone.returned_us);
            if !given_up && !index.board_lost_between(last.invoked_us, gone.returned_us) {
                verdict.expect(gone.returned_us > lives_until_us, || {
                    format!("operation {} lost the place of operation {}", gone.id, last.id)
                });
            }
        }
    }
    for op in &index.history.ops {
        let (Call::Reservations { token, .. }, Some(body)) = (&op.call, ok_body(op)) else {
            continue;
        };
        let told: BTreeSet<String> =
            list(body, "holds").iter().map(|hold| text(hold, "reservationId")).collect();
        let place = place_of(token);
        for hold in index.held.iter().filter(|hold| Some(hold.place) == place) {
            let excused = index.loss_between(hold.op.invoked_us, op.returned_us);
            if hold.covers(op.invoked_us, op.returned_us) && !excused {
                verdict.expect(told.contains(&hold.reservation), || {
                    format!("operation {} does not show the hold of {}", op.id, hold.op.id)
                });
            }
        }
    }
    verdict
}

/// A 503 that says that nothing happened tells the truth; an unknown outcome is never a 4xx.
fn a3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("A3");
    for op in &index.history.ops {
        if refusal(op).is_none() {
            continue;
        }
        if let Some(left) = money::left_behind(index, op) {
            verdict.expect(left.is_empty(), || format!("operation {} left {left}", op.id));
        }
        let Call::Reserve { token, seats, .. } = &op.call else { continue };
        let Some(place) = place_of(token) else { continue };
        let others = || index.requests_of(place).iter().filter(|op| refusal(op).is_none());
        for seat in seats {
            let reserved = others()
                .any(|op| matches!(&op.call, Call::Reserve { seats, .. } if seats.contains(seat)));
            if !reserved {
                let bought = index.history.finals.payments.iter().any(|row| {
                    (row.concert, row.place) == place
                        && index
                            .owned
                            .get(row.id.as_str())
                            .is_some_and(|owned| owned.iter().any(|owned| owned.seat == *seat))
                });
                verdict.expect(!bought, || {
                    format!("seat {seat} was bought, though only operation {} asked for it", op.id)
                });
            }
        }
    }
    verdict
}

/// Every 503 and 429 has a whole number in `Retry-After`.
fn a4(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("A4");
    for op in &index.history.ops {
        let (Outcome::Fail { status: status @ (429 | 503), retry_after, .. }
        | Outcome::Info { status: Some(status @ (429 | 503)), retry_after, .. }) = &op.outcome
        else {
            continue;
        };
        let whole = retry_after.as_ref().is_some_and(|after| after.parse::<u32>().is_ok());
        verdict.expect(whole, || {
            format!("operation {}: {status}, Retry-After {retry_after:?}", op.id)
        });
    }
    verdict
}

/// No request outlives its deadline by a second, unless its server was cut off from its client.
fn a5(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("A5");
    let most_us = index.history.setup.request_deadline_us + LATE_US;
    for op in &index.history.ops {
        let cut_off = index.history.faults.iter().any(|fault| {
            fault.cut_off == Some(op.server)
                && fault.from_us <= op.returned_us
                && op.invoked_us <= fault.to_us
        });
        let took_us = op.returned_us - op.invoked_us;
        if !cut_off {
            verdict.expect(took_us <= most_us, || format!("operation {} took {took_us} us", op.id));
        }
    }
    verdict
}

/// After an ok payment, every read on any server shows it.
fn a6(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("A6");
    for op in &index.history.ops {
        let (Call::Reservations { user, .. }, Some(body)) = (&op.call, ok_body(op)) else {
            continue;
        };
        let told: BTreeSet<String> =
            list(body, "owned").iter().map(|seat| text(seat, "paymentId")).collect();
        let earlier = index.paid.iter().filter(|paid| paid.user == *user);
        for paid in earlier.filter(|paid| paid.op.returned_us < op.invoked_us) {
            verdict.expect(paid.payments.is_subset(&told), || {
                format!("operation {} does not show the payment of {}", op.id, paid.op.id)
            });
        }
    }
    verdict
}

/// In the end the sold seats of Redis are the owned seats of PostgreSQL.
fn r1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("R1");
    for redis in &index.history.finals.redis {
        let bits =
            redis.sold.iter().flat_map(|(date, seats)| seats.iter().map(move |seat| (date, *seat)));
        let owned = index.history.finals.owned_seats.iter();
        let owned =
            owned.filter(|row| row.concert == redis.concert).map(|row| (&row.date, row.seat));
        let (bits, owned): (BTreeSet<_>, BTreeSet<_>) = (bits.collect(), owned.collect());
        for seat in bits.union(&owned) {
            verdict.expect(bits.contains(seat) && owned.contains(seat), || {
                format!("concert {}: only one store has {seat:?} as sold", redis.concert)
            });
        }
    }
    verdict
}

/// No live hold on a sold seat.
fn r2(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("R2");
    for redis in &index.history.finals.redis {
        for row in
            index.history.finals.owned_seats.iter().filter(|row| row.concert == redis.concert)
        {
            let deadline_ms = redis.held.get(&row.date).and_then(|held| held.get(&row.seat));
            verdict
                .expect(deadline_ms.is_none_or(|deadline_ms| *deadline_ms <= redis.now_ms), || {
                    format!("the sold seat of {row:?} is held")
                });
        }
    }
    verdict
}

/// No connection is idle in a transaction, and every pool is whole.
fn r3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("R3");
    let finals = &index.history.finals;
    for server in &finals.servers {
        if let Some((answered, sent)) = server.pool_answered {
            verdict.expect(answered == sent, || {
                format!("server {}: {answered} of {sent} answered", server.server)
            });
        }
    }
    if !finals.servers.is_empty() {
        verdict.expect(finals.idle_in_transaction == 0, || {
            format!("{} connections idle in a transaction", finals.idle_in_transaction)
        });
    }
    verdict
}

/// Keys without an end are bounded by concerts and dates.
fn r4(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("R4");
    for redis in &index.history.finals.redis {
        let prefix = format!("{{c{}}}:", redis.concert);
        for key in &redis.without_ttl {
            let name = key.strip_prefix(&prefix).unwrap_or(key);
            let lasting = LASTING_KEYS.contains(&name)
                || LASTING_KEYS_OF_DATES.iter().any(|start| name.starts_with(start));
            verdict.expect(lasting, || format!("{key} never ends"));
        }
    }
    verdict
}

/// Once a fault has healed for long enough, every operation works. Where the machine itself stood
/// still, a server that gives up after 300 ms is right, and nothing is judged.
fn r5(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("R5");
    let faults = &index.history.faults;
    let recovery_us = index.history.setup.recovery_us;
    for op in &index.history.ops {
        let after = faults.iter().any(|fault| fault.to_us + recovery_us <= op.invoked_us);
        let during = faults.iter().any(|fault| {
            fault.from_us <= op.returned_us && op.invoked_us < fault.to_us + recovery_us
        });
        if after && !during && !index.machine_stalled(op) {
            let works = match &op.outcome {
                Outcome::Ok { .. } => true,
                Outcome::Fail { status, .. } => *status < 500,
                Outcome::Info { .. } => false,
            };
            verdict.expect(works, || format!("operation {}: {:?}", op.id, op.outcome));
        }
    }
    verdict
}

/// Who a token was given to, if its arrival named somebody.
fn owners(index: &Index) -> HashMap<Place, u64> {
    let arrivals = index.history.ops.iter().filter(|op| matches!(op.call, Call::Join { .. }));
    arrivals.filter_map(|op| Some((place_of(token_of(op)?)?, named_user(&op.call)?))).collect()
}

/// A token of one user with the name of another: 403, no effect.
fn x1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("X1");
    let owners = owners(index);
    for op in index.history.ops.iter().filter(|op| !matches!(op.call, Call::Join { .. })) {
        let (Some(place), Some(named)) = (token_of(op).and_then(place_of), named_user(&op.call))
        else {
            continue;
        };
        if owners.get(&place).is_some_and(|owner| *owner != named) {
            let refused = match &op.outcome {
                Outcome::Ok { .. } => false,
                Outcome::Fail { status, .. } => matches!(status, 401 | 403 | 408 | 429 | 503),
                Outcome::Info { .. } => true,
            };
            let paid = index.history.finals.payments.iter();
            let mut paid = paid.filter(|row| (row.concert, row.place) == place);
            verdict.expect(refused && !paid.any(|row| row.user == named), || {
                format!("operation {} used the token of somebody else", op.id)
            });
        }
    }
    verdict
}

/// No input gives a 500 or a panic.
fn x2(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("X2");
    for op in &index.history.ops {
        let broken = match &op.outcome {
            Outcome::Ok { .. } => false,
            Outcome::Fail { status, .. } => *status >= 500 && *status != 503,
            Outcome::Info { status, .. } => status.is_some_and(|status| status != 503),
        };
        verdict.expect(!broken, || format!("operation {}: {:?}", op.id, op.outcome));
    }
    for server in &index.history.finals.servers {
        verdict.expect(server.panics == 0, || format!("server {} panicked", server.server));
    }
    verdict
}

/// No answer holds somebody else's data.
fn x3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("X3");
    let owners = owners(index);
    for op in &index.history.ops {
        let (Some(body), Some(named)) = (ok_body(op), named_user(&op.call)) else { continue };
        let told = body["userId"].as_u64();
        verdict.expect(told.is_none_or(|told| told == named), || {
            format!("operation {} of user {named} tells of user {told:?}", op.id)
        });
        let payments = list(body, "payments").iter().chain(list(body, "owned"));
        for id in payments.map(|row| text(row, "paymentId")) {
            let of = index.payments.get(id.as_str()).map(|row| row.user);
            verdict.expect(of.is_none_or(|of| of == named), || {
                format!("operation {} of user {named} shows a payment of {of:?}", op.id)
            });
        }
        if matches!(op.call, Call::Join { .. }) {
            let owner = token_of(op).and_then(place_of).and_then(|place| owners.get(&place));
            verdict.expect(owner.is_none_or(|owner| *owner == named), || {
                format!("operation {} gives user {named} the token of {owner:?}", op.id)
            });
        }
    }
    verdict
}

/// Memory, connections and threads return to where they were.
fn x4(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("X4");
    for server in &index.history.finals.servers {
        let spans = [
            ("kB of memory", server.resident_kb, 65_536),
            ("descriptors", server.descriptors, 16),
            ("threads", server.threads, 8),
        ];
        for (what, span, slack) in spans {
            if let Some(Span { before, after }) = span {
                verdict.expect(after <= before + before / 2 + slack, || {
                    format!("server {}: {before} {what}, then {after}", server.server)
                });
            }
        }
    }
    verdict
}
