//! The checker of the fault runs: it finds every kind of wrong history, and nothing in a right one.
//!
//! One right history ([`sale`]) in which every invariant has something to compare; each case
//! breaks it in one place.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::{Verdict, check};
use crate::history::{
    Call, ConcertSetup, Entry, FaultSpan, Finals, History, LedgerRow, Op, Outcome, OwnedRow,
    PaymentRow, RedisFinals, Repeat, Sample, ServerFinals, Setup, Span, Stall,
};

const DATE: &str = "2099-12-01";
const CONCERT: u32 = 1;

fn s(seconds: f64) -> u64 {
    std::time::Duration::from_secs_f64(seconds).as_micros().try_into().unwrap()
}

/// A token of this place; its signature is of no interest to the checker.
fn token(place: u64) -> String {
    let payload = u128::from(CONCERT) << 100 | u128::from(place) << 50;
    let (top, middle, low) = (payload >> 74, payload >> 62 & 0xfff, payload & ((1 << 62) - 1));
    let bits = top << 80 | 8 << 76 | middle << 64 | 0b10 << 62 | low;
    format!("{}_1", Uuid::from_u128(bits))
}

fn ok(body: Value) -> Outcome {
    Outcome::Ok { status: 200, body }
}

fn fail(status: u16, code: &str) -> Outcome {
    let retry_after = (status == 503).then(|| "1".to_owned());
    Outcome::Fail { status, code: code.to_owned(), body: Value::Null, retry_after }
}

fn standing(status: &str, position: u64) -> Outcome {
    ok(json!({ "status": status, "queuePosition": position }))
}

fn held(seat: u32, reservation: &str) -> Outcome {
    ok(json!({
        "concertId": CONCERT, "concertDate": DATE, "seatNumber": seat,
        "reservationId": reservation, "price": 100, "expiresIn": 300,
    }))
}

fn bought(payment: &str) -> Outcome {
    ok(json!({ "userId": 1, "balance": 900, "payments": [{
        "paymentId": payment, "reservationId": "r1", "concertId": CONCERT,
        "concertDate": DATE, "seatNumber": 1, "amount": 100,
    }] }))
}

fn join(user: u64) -> Call {
    Call::Join { user: Some(user), concert: Some(CONCERT) }
}

fn joined(place: u64, position: u64) -> Outcome {
    let body = json!({ "token": token(place), "status": "waiting", "queuePosition": position });
    Outcome::Ok { status: 201, body }
}

fn poll(place: u64) -> Call {
    Call::Poll { token: token(place) }
}

fn reserve(place: u64, user: u64, seat: u32) -> Call {
    Call::Reserve {
        token: token(place),
        user,
        concert: Some(CONCERT),
        date: Some(DATE.to_owned()),
        seats: vec![seat],
    }
}

fn charge(user: u64, amount: i64, key: Option<&str>) -> Call {
    Call::Charge { token: token(user), user, amount, key: key.map(str::to_owned) }
}

fn pay(place: u64, key: Option<&str>) -> Call {
    Call::Pay { token: token(place), user: 1, key: key.map(str::to_owned) }
}

fn reservations() -> Call {
    Call::Reservations { token: token(1), user: 1 }
}

impl History {
    /// A request of 0.1 s; its id is the tenth of a second at which it was sent.
    fn add(&mut self, at: f64, call: Call, outcome: Outcome) {
        let (invoked_us, returned_us) = (s(at), s(at + 0.1));
        let id = invoked_us / 100_000;
        self.ops.push(Op {
            id,
            client: 1,
            server: 0,
            user: 1,
            invoked_us,
            returned_us,
            call,
            outcome,
        });
    }

    fn at(&mut self, at: f64) -> &mut Op {
        self.ops.iter_mut().find(|op| op.invoked_us == s(at)).expect("an operation then")
    }

    fn answer(&mut self, at: f64, outcome: Outcome) {
        self.at(at).outcome = outcome;
    }

    /// Redis loses its data at this time.
    fn lose(&mut self, at: f64) {
        self.faults.push(FaultSpan {
            from_us: s(at),
            to_us: s(at + 0.1),
            kind: "redis-emptied".to_owned(),
            loss: true,
            cut_off: None,
        });
    }

    fn verdict(&self, invariant: &str) -> Verdict {
        check(self).into_iter().find(|verdict| verdict.invariant == invariant).expect("a verdict")
    }
}

/// User 1 buys seat 1, which user 2 had given back; user 3 waits for a while.
fn sale() -> History {
    let mut sale = History { setup: setup(), finals: finals(), ..History::default() };
    sale.add(0.0, join(1), joined(1, 1));
    sale.add(1.0, join(2), joined(2, 2));
    sale.add(2.0, join(3), joined(3, 3));
    sale.add(4.0, poll(1), standing("active", 0));
    sale.add(4.2, poll(2), standing("active", 0));
    sale.add(5.0, poll(3), standing("waiting", 1));
    sale.add(6.0, charge(1, 1000, Some("k")), ok(json!({ "userId": 1, "balance": 1000 })));
    sale.add(7.0, charge(1, 1000, Some("k")), ok(json!({ "userId": 1, "balance": 1000 })));
    sale.add(8.0, charge(1, 500, Some("k")), fail(422, "idempotency-key-reused"));
    sale.add(8.2, reserve(2, 2, 1), held(1, "r0"));
    let reservation = "r0".to_owned();
    let release = Call::Release { token: token(2), user: 2, concert: None, reservation };
    sale.add(8.5, release, ok(json!({ "status": "released" })));
    sale.add(9.0, reserve(1, 1, 1), held(1, "r1"));
    sale.add(
        11.0,
        reservations(),
        ok(json!({ "holds": [{ "reservationId": "r1" }], "owned": [] })),
    );
    let balance = Call::Balance { token: token(1), user: 1 };
    sale.add(11.5, balance, ok(json!({ "userId": 1, "balance": 1000 })));
    sale.add(12.0, pay(1, Some("p")), bought("p1"));
    sale.add(13.0, pay(1, None), bought("p1"));
    sale.add(13.5, pay(1, None), bought("p1"));
    let seats = Call::Seats { token: token(2), concert: None, date: DATE.to_owned() };
    sale.add(14.0, seats, ok(json!({ "availableSeats": [2, 3] })));
    sale.add(15.0, reserve(2, 2, 1), fail(409, "seat-sold"));
    sale.add(16.0, reservations(), ok(json!({ "holds": [], "owned": [{ "paymentId": "p1" }] })));
    sale.add(17.0, reserve(1, 2, 4), fail(403, "not-yours"));
    sale.add(18.0, join(1), joined(4, 2));
    sale.add(19.0, poll(3), standing("waiting", 1));
    sale.add(25.0, poll(4), standing("active", 0));
    sale.add(26.0, pay(4, Some("p")), bought("p1"));
    sale.add(28.0, poll(3), standing("active", 0));
    sale.add(40.5, charge(2, 700, None), fail(503, "database-unavailable"));
    sale.add(55.0, poll(2), standing("active", 0));
    sale.faults.push(FaultSpan {
        from_us: s(40.0),
        to_us: s(41.0),
        kind: "postgres-killed".to_owned(),
        loss: false,
        cut_off: None,
    });
    let sample = |second: u32| Sample {
        at_us: s(f64::from(second)),
        concert: CONCERT,
        active: 2,
        capacity: 2,
        issued: 4,
        accounted: 4,
    };
    sale.samples = (4..20).map(sample).collect();
    sale
}

fn setup() -> Setup {
    Setup {
        seed: 1,
        topology: "alone".to_owned(),
        concerts: vec![ConcertSetup {
            id: CONCERT,
            dates: vec![DATE.to_owned()],
            seats: 3,
            price: 100,
            capacity: 2,
        }],
        servers: vec!["a".to_owned()],
        seats_per_user_max: 1,
        hold_us: s(300.0),
        hold_grace_us: s(60.0),
        claim_ttl_us: s(45.0),
        request_deadline_us: s(2.0),
        board_age_us: s(0.5),
        recovery_us: s(10.0),
    }
}

fn entry(id: i64, amount: i64, balance_after: i64, payment: Option<&str>) -> LedgerRow {
    let (request, payment) = (format!("request {id}"), payment.map(str::to_owned));
    LedgerRow { id, user: 1, request, amount, balance_after, payment }
}

fn payment(id: &str, user: u64, place: u64) -> PaymentRow {
    PaymentRow { id: id.to_owned(), user, concert: CONCERT, place, total: 100 }
}

fn finals() -> Finals {
    let span = Some(Span { before: 100, after: 100 });
    Finals {
        at_us: s(60.0),
        payments: vec![payment("p1", 1, 1)],
        owned_seats: vec![OwnedRow {
            concert: CONCERT,
            date: DATE.to_owned(),
            seat: 1,
            payment: "p1".to_owned(),
            reservation: "r1".to_owned(),
            price: 100,
        }],
        ledger: vec![entry(1, 1000, 1000, None), entry(2, -100, 900, Some("p1"))],
        balances: [(1, 900)].into(),
        redis: vec![RedisFinals {
            concert: CONCERT,
            now_ms: 1_000_000,
            sold: [(DATE.to_owned(), vec![1])].into(),
            active: [(2, 2_000_000), (3, 2_000_000), (4, 2_000_000)].into(),
            without_ttl: vec!["{c1}:seq".to_owned(), format!("{{c1}}:sold:{DATE}")],
            ..RedisFinals::default()
        }],
        servers: vec![ServerFinals {
            server: 0,
            resident_kb: span,
            descriptors: span,
            threads: span,
            panics: 0,
            pool_answered: Some((4, 4)),
        }],
        repeats: vec![Repeat {
            what: "lua/queue/leave".to_owned(),
            after_first: json!(1),
            after_second: json!(1),
        }],
        ..Finals::default()
    }
}

#[test]
fn a_right_history_has_something_for_every_invariant_and_breaks_none() {
    let verdicts = check(&sale());
    assert_eq!(verdicts.len(), 8 + 8 + 5 + 8 + 6 + 5 + 4);
    for verdict in verdicts {
        assert!(verdict.checked > 0, "{} compared nothing", verdict.invariant);
        assert_eq!(verdict.violations, [""; 0], "{}", verdict.invariant);
    }
}

/// What breaks an invariant in a history that is right otherwise.
type Break = fn(&mut History);

#[rstest]
#[case("S1", |h: &mut History| h.finals.owned_seats.extend(h.finals.owned_seats.clone()))]
#[case("S2", |h: &mut History| h.finals.payments[0].user = 2)]
#[case("S3", |h: &mut History| h.ops.retain(|op| op.invoked_us != s(9.0)))]
#[case("S4", |h: &mut History| h.ops.retain(|op| op.invoked_us != s(8.5)))]
#[case("S5", |h: &mut History| h.answer(15.0, held(1, "r2")))]
#[case("S6", |h: &mut History| h.answer(14.0, ok(json!({ "availableSeats": [1, 2, 3] }))))]
#[case("S7", |h: &mut History| h.answer(13.0, fail(409, "hold-expired")))]
#[case("S8", |h: &mut History| h.add(9.5, reserve(1, 1, 2), held(2, "r3")))]
#[case("M1", |h: &mut History| { h.finals.balances.insert(1, 901); })]
#[case("M2", |h: &mut History| h.finals.ledger.push(entry(3, 1000, 1900, None)))]
#[case("M3", |h: &mut History| h.finals.ledger[1].amount = -99)]
#[case("M4", |h: &mut History| h.finals.ledger[1].balance_after = 901)]
#[case("M5", |h: &mut History| h.answer(11.5, ok(json!({ "userId": 1, "balance": 999 }))))]
#[case("M6", |h: &mut History| h.finals.ledger[1].balance_after = 901)]
#[case("M7", |h: &mut History| h.finals.owned_seats.clear())]
#[case("M8", |h: &mut History| h.finals.ledger.push(entry(3, 500, 1400, None)))]
#[case("D1", |h: &mut History| h.answer(7.0, ok(json!({ "userId": 1, "balance": 2000 }))))]
#[case("D2", |h: &mut History| h.answer(8.0, ok(json!({ "userId": 1, "balance": 1500 }))))]
#[case("D3", |h: &mut History| h.answer(13.5, bought("p2")))]
#[case("D4", |h: &mut History| h.answer(26.0, bought("p2")))]
#[case("D5", |h: &mut History| h.finals.repeats[0].after_second = json!(2))]
#[case("Q1", |h: &mut History| h.samples[0].active = 3)]
#[case("Q2", |h: &mut History| h.answer(28.0, standing("waiting", 1)))]
#[case("Q3", |h: &mut History| h.answer(19.0, standing("waiting", 5)))]
#[case("Q4", |h: &mut History| h.add(30.0, poll(1), standing("active", 0)))]
#[case("Q5", |h: &mut History| h.add(20.0, poll(2), standing("waiting", 1)))]
#[case("Q6", |h: &mut History| h.add(9.8, reserve(3, 3, 2), held(2, "r3")))]
#[case("Q7", |h: &mut History| h.samples[1].issued = 5)]
#[case("Q8", |h: &mut History| h.samples.iter_mut().for_each(|sample| sample.active = 1))]
#[case("A1", |h: &mut History| h.finals.payments.clear())]
#[case("A2", |h: &mut History| h.answer(11.0, ok(json!({ "holds": [], "owned": [] }))))]
#[case("A2", |h: &mut History| h.answer(19.0, fail(401, "token-expired")))]
#[case("A3", |h: &mut History| h.finals.ledger.push(LedgerRow { user: 2, ..entry(3, 700, 700, None) }))]
#[case("A4", |h: &mut History| h.answer(40.5, Outcome::Fail {
    status: 503,
    code: "overloaded".to_owned(),
    body: Value::Null,
    retry_after: Some("soon".to_owned()),
}))]
#[case("A5", |h: &mut History| h.at(25.0).returned_us += s(4.0))]
#[case("A6", |h: &mut History| h.answer(16.0, ok(json!({ "holds": [], "owned": [] }))))]
#[case("R1", |h: &mut History| h.finals.redis[0].sold.clear())]
#[case("R2", |h: &mut History| { h.finals.redis[0].held.insert(DATE.to_owned(), [(1, 2_000_000)].into()); })]
#[case("R3", |h: &mut History| h.finals.idle_in_transaction = 1)]
#[case("R3", |h: &mut History| h.finals.servers[0].pool_answered = Some((3, 4)))]
#[case("R4", |h: &mut History| h.finals.redis[0].without_ttl.push("{c1}:token:5".to_owned()))]
#[case("R5", |h: &mut History| h.answer(55.0, fail(503, "redis-unavailable")))]
#[case("X1", |h: &mut History| h.answer(17.0, held(4, "r4")))]
#[case("X2", |h: &mut History| h.finals.servers[0].panics = 1)]
#[case("X2", |h: &mut History| h.answer(19.0, fail(500, "internal")))]
#[case("X3", |h: &mut History| h.answer(11.5, ok(json!({ "userId": 2, "balance": 1000 }))))]
#[case("X4", |h: &mut History| h.finals.servers[0].descriptors = Some(Span { before: 100, after: 200 }))]
fn what_breaks_an_invariant_is_found(#[case] invariant: &str, #[case] breaks: Break) {
    let mut history = sale();
    breaks(&mut history);
    assert_ne!(history.verdict(invariant).violations, [""; 0]);
}

/// What a loss of data excuses, and when it has to lie.
#[rstest]
#[case("S4", 8.8, |h: &mut History| h.ops.retain(|op| op.invoked_us != s(8.5)))]
#[case("S6", 13.8, |h: &mut History| h.answer(14.0, ok(json!({ "availableSeats": [1, 2, 3] }))))]
#[case("S7", 12.7, |h: &mut History| h.answer(13.0, fail(409, "hold-expired")))]
#[case("Q3", 10.0, |h: &mut History| h.answer(19.0, standing("waiting", 5)))]
#[case("Q5", 17.0, |h: &mut History| h.add(20.0, poll(2), standing("waiting", 1)))]
#[case("A2", 10.0, |h: &mut History| h.answer(11.0, ok(json!({ "holds": [], "owned": [] }))))]
fn a_loss_of_data_in_between_excuses_it(
    #[case] invariant: &str,
    #[case] lost_at: f64,
    #[case] breaks: Break,
) {
    let mut history = sale();
    breaks(&mut history);
    history.lose(lost_at);
    assert_eq!(history.verdict(invariant).violations, [""; 0]);
}

#[rstest]
#[case("S5", |h: &mut History| h.answer(15.0, held(1, "r2")))]
#[case("D3", |h: &mut History| h.answer(13.5, bought("p2")))]
#[case("A1", |h: &mut History| h.finals.payments.clear())]
#[case("A6", |h: &mut History| h.answer(16.0, ok(json!({ "holds": [], "owned": [] }))))]
#[case("M2", |h: &mut History| h.finals.ledger.push(entry(3, 1000, 1900, None)))]
#[case("Q1", |h: &mut History| h.samples[8].active = 3)]
#[case("X1", |h: &mut History| h.answer(17.0, held(4, "r4")))]
fn a_loss_of_data_does_not_excuse_what_stands_all_the_same(
    #[case] invariant: &str,
    #[case] breaks: Break,
) {
    let mut history = sale();
    breaks(&mut history);
    history.lose(12.5);
    assert_ne!(history.verdict(invariant).violations, [""; 0]);
}

#[test]
fn what_has_no_clear_answer_may_have_happened_or_not() {
    let mut history = sale();
    let unclear = || Outcome::Info { reason: "reset".to_owned(), status: None, retry_after: None };
    history.add(30.0, charge(1, 300, None), unclear());
    assert_eq!(history.verdict("M2").violations, [""; 0], "it did not happen");
    history.finals.ledger.push(entry(3, 300, 1200, None));
    history.finals.balances.insert(1, 1200);
    for invariant in ["M1", "M2", "M4", "M8", "A3"] {
        assert_eq!(history.verdict(invariant).violations, [""; 0], "{invariant}: it happened");
    }
    history.answer(30.0, fail(503, "overloaded"));
    assert_ne!(history.verdict("M8").violations, [""; 0], "it was said not to have happened");
}

#[test]
fn whoever_polls_sooner_than_told_may_see_his_position_grow() {
    let mut history = sale();
    let told = |position: u64| {
        ok(json!({ "status": "waiting", "queuePosition": position, "pollAfter": 4.0 }))
    };
    history.add(20.0, poll(5), told(1));
    history.add(24.0, poll(5), told(2));
    assert_eq!(history.verdict("Q3").violations, [""; 0], "asked 0.1 s too soon");
    history.add(24.1, poll(5), told(2));
    assert_ne!(history.verdict("Q3").violations, [""; 0], "asked when told");
}

#[test]
fn only_the_server_that_is_cut_off_may_be_late() {
    let mut history = sale();
    history.at(40.5).returned_us += s(4.0);
    assert_ne!(
        history.verdict("A5").violations,
        [""; 0],
        "PostgreSQL was away, the server was not"
    );
    history.faults[0].cut_off = Some(1);
    assert_ne!(history.verdict("A5").violations, [""; 0], "another server was cut off");
    history.faults[0].cut_off = Some(0);
    assert_eq!(history.verdict("A5").violations, [""; 0]);
}

#[test]
fn where_the_machine_stood_still_nobody_has_to_answer() {
    let mut history = sale();
    history.answer(55.0, fail(503, "redis-unavailable"));
    history.stalls.push(Stall { from_us: s(50.0), to_us: s(51.0) });
    assert_ne!(history.verdict("R5").violations, [""; 0], "long before");
    history.stalls.push(Stall { from_us: s(54.9), to_us: s(55.05) });
    assert_eq!(history.verdict("R5").violations, [""; 0]);
}

/// A board that was read before the loss may still be told of after it.
#[test]
fn an_answer_from_a_board_may_be_older_than_a_loss() {
    let mut history = sale();
    history.answer(19.0, fail(401, "token-expired"));
    // The last answer of before was asked for at 5.0.
    history.lose(4.3);
    assert_ne!(history.verdict("A2").violations, [""; 0], "0.6 s before, and boards live 0.5 s");
    history.lose(4.5);
    assert_eq!(history.verdict("A2").violations, [""; 0]);
}

/// Place 4 is answered with what the old key paid, and buys something itself later.
#[test]
fn a_replay_with_the_token_of_another_place_is_no_payment_of_that_place() {
    let mut history = sale();
    history.finals.payments.push(payment("p2", 1, 4));
    let balance = Call::Balance { token: token(4), user: 1 };
    history.add(27.0, balance, ok(json!({ "userId": 1, "balance": 900 })));
    history.add(27.5, pay(4, None), bought("p2"));
    assert_eq!(history.verdict("M5").violations, [""; 0]);
    let balance = Call::Balance { token: token(4), user: 1 };
    history.add(29.5, balance, ok(json!({ "userId": 1, "balance": 900 })));
    assert_ne!(history.verdict("M5").violations, [""; 0], "by then it had paid");
}

#[test]
fn who_is_told_of_a_place_again_may_have_come_long_before() {
    let mut history = sale();
    history.answer(28.0, standing("waiting", 1));
    assert_ne!(history.verdict("Q2").violations, [""; 0]);
    for at in [0.0, 1.0, 2.0, 18.0] {
        let Outcome::Ok { status, .. } = &mut history.at(at).outcome else { continue };
        *status = 200;
    }
    assert_eq!(history.verdict("Q2").violations, [""; 0], "their first answers were lost");
}

#[test]
fn a_token_that_may_have_bought_may_be_gone() {
    let mut history = sale();
    let unclear = Outcome::Info { reason: "reset".to_owned(), status: None, retry_after: None };
    history.answer(19.0, fail(401, "token-expired"));
    assert_ne!(history.verdict("A2").violations, [""; 0]);
    let call = Call::Pay { token: token(3), user: 3, key: None };
    history.add(18.8, call, unclear);
    assert_eq!(history.verdict("A2").violations, [""; 0]);
}

#[test]
fn a_history_is_read_as_it_was_written() {
    let sale = sale();
    let mut file = Vec::new();
    let entries = sale.samples.iter().cloned().map(Entry::Sample);
    let entries = entries.chain(sale.ops.iter().cloned().map(Entry::Op));
    let entries = entries.chain(sale.stalls.iter().copied().map(Entry::Stall));
    let entries = entries.chain(sale.faults.iter().cloned().map(Entry::Fault));
    let ends = [Entry::Finals(Box::new(sale.finals.clone())), Entry::Setup(sale.setup.clone())];
    for entry in entries.chain(ends) {
        entry.write(&mut file).unwrap();
    }
    let read = History::read(file.as_slice()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{sale:?}"));
}
