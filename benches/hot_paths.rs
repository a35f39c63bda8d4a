//! The code that every poll of a waiting token runs (checking the token, finding the position, the
//! estimate, the answer), the signature of an arrival, the encoding of a seat list, and what counting
//! adds to a request.
//!
//! Unit: time per call, one thread, no store. The board holds a million people waiting, of whom
//! `left` gave up their place, spread evenly (the worst case: no two dead places are neighbours).
//!
//! Run: `cargo bench --bench hot_paths`.

#![expect(missing_docs, reason = "criterion generates the function of a group")]
#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot be set up must stop")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use onsale::http::answer::Json;
use onsale::metrics::Histogram;
use onsale::queue::draw::{Order, Seed, Segments};
use onsale::queue::routes::StandingView;
use onsale::queue::{
    Board, BoardBuilder, BoardFacts, BoardReading, DeadEntry, LineSettings, Outlook, PlaceRange,
    PollAfter, Progress, Standing, Status, Token, TokenKeys,
};
use onsale::seats::domain::{SeatReading, SoldSeats};
use onsale::words::{ConcertId, Place, SeatNumber};

const FIRST: u64 = 50_000_000_000_000;
const WAITING: u64 = 1_000_000;

fn place(number: u64) -> Place {
    Place::try_from(i128::from(number)).expect("a place")
}

fn board(left: u64) -> std::sync::Arc<Board> {
    let dead = |ordinal: u64| {
        let place = place(FIRST + ordinal * (WAITING / (left + 1)));
        DeadEntry { ordinal, range: PlaceRange::new(place, place).expect("a range") }
    };
    let facts = BoardFacts {
        redis_now_ms: 1_900_000_000_000,
        run: Some("run".into()),
        epoch: Some("epoch".into()),
        last: Some(place(FIRST + WAITING - 1)),
        head: Some(place(FIRST)),
        waiting: WAITING - left,
        active: 1000,
        promoted: 0,
        sold: 0,
        held: 0,
        withheld: 0,
        draw: None,
        seats: 50,
        settings: LineSettings {
            capacity: 1000,
            batch: 100,
            paused: false,
            opens_at_ms: 0,
            closes_at_ms: 0,
        },
        message: None,
    };
    let mut builder = BoardBuilder::new(Duration::from_mins(10));
    let ask = builder.ask(Instant::now());
    let dead = (1..=left).map(dead).collect();
    let reading = BoardReading { facts, dead, dead_complete: true, order: None };
    match builder.take(ask, reading) {
        Progress::Complete(board) => board,
        other => panic!("no board: {other:?}"),
    }
}

fn check_token(c: &mut Criterion) {
    let keys = TokenKeys::parse(&TokenKeys::generate()).expect("a key");
    let concert = ConcertId::try_from(1).expect("an id");
    let texts: Vec<String> = (0..1024)
        .map(|n| Token { concert, place: place(FIRST + n) }.sign(&keys).with_position(n))
        .collect();
    let mut next = texts.iter().cycle();
    c.bench_function("token/verify", |b| {
        b.iter(|| keys.verify(black_box(next.next().map_or("", String::as_str))));
    });
    let mut number = 0;
    c.bench_function("token/sign", |b| {
        b.iter(|| {
            number += 1;
            let token = Token { concert, place: place(FIRST + number) };
            black_box(token).sign(&keys).with_position(number)
        });
    });
}

fn estimate(c: &mut Criterion) {
    let outlook = Outlook {
        is_halted: false,
        opens_in_seconds: 0.0,
        free_slots: 40,
        supply_per_second: 100.0,
        rate_per_second: 33.0,
    };
    let mut position = 0;
    c.bench_function("estimate", |b| {
        b.iter(|| {
            position = (position + 7919) % WAITING;
            let wait = black_box(outlook).wait_seconds(position);
            PollAfter::new(wait, 0.3, Duration::from_mins(1))
        });
    });
}

fn answer(c: &mut Criterion) {
    let standing = Standing {
        concert: ConcertId::try_from(1).expect("an id"),
        status: Status::Waiting,
        position: 123_456,
        estimated_wait_seconds: 1_235,
        poll_after: PollAfter::new(1_235, 0.3, Duration::from_mins(1)),
        expires_in_seconds: None,
        owner: None,
        message: None,
    };
    c.bench_function("answer/poll", |b| {
        b.iter(|| Json(StandingView::new(black_box(&standing), None)).into_response());
    });
    let mut group = c.benchmark_group("answer/seats");
    for seats in [50, 5_000, 50_000_i128] {
        // A third of them is sold.
        let bytes = usize::try_from(seats).expect("a size") / 8 + 1;
        let reading = SeatReading {
            now_ms: 1_900_000_000_000,
            version: Some("v".into()),
            sold: SoldSeats(Bytes::from(vec![0b0010_0101; bytes])),
            next_deadline_ms: None,
            held: Vec::new(),
        };
        let last = SeatNumber::try_from(seats).expect("a seat");
        group.bench_with_input(BenchmarkId::new("all", seats), &reading, |b, reading| {
            b.iter(|| black_box(reading).free(last).encode());
        });
    }
    group.finish();
}

/// What every server does once, at the opening of a lottery.
fn draw(c: &mut Criterion) {
    let mut group = c.benchmark_group("draw/order");
    group.sample_size(10);
    for people in [10_000, 1_000_000] {
        let segments = Segments::new([(FIRST, FIRST + people - 1)]).expect("a range");
        group.bench_with_input(BenchmarkId::new("people", people), &segments, |b, segments| {
            b.iter(|| Order::draw(&Seed::new([7; 32]), black_box(segments).clone()));
        });
    }
    group.finish();
}

fn find_position(c: &mut Criterion) {
    let mut group = c.benchmark_group("board/position_of");
    for left in [0, 1000, 100_000] {
        let board = board(left);
        let mut number = 0;
        group.bench_with_input(BenchmarkId::new("left", left), &board, |b, board| {
            b.iter(|| {
                number = (number + 7919) % WAITING;
                board.position_of(black_box(place(FIRST + number)))
            });
        });
    }
    group.finish();
}

/// What counting adds to a request: a duration, a status and, for a poll, the poll.
fn count(c: &mut Criterion) {
    let histogram = Histogram::new();
    let (status, polls) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut nanos = 1;
    c.bench_function("metrics/count", |b| {
        b.iter(|| {
            nanos = (nanos * 7) % 100_000_007;
            status.fetch_add(1, Ordering::Relaxed);
            polls.fetch_add(1, Ordering::Relaxed);
            histogram.observe(black_box(Duration::from_nanos(nanos)));
        });
    });
}

criterion_group!(benches, check_token, find_position, draw, estimate, answer, count);
criterion_main!(benches);
