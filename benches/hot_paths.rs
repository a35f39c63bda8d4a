//! The code that every poll of a waiting token runs: checking the token and finding the position.
//!
//! Unit: time per call, one thread, no store. The board holds a million people waiting, of whom
//! `left` gave up their place, spread evenly (the worst case: no two dead places are neighbours).
//!
//! Run: `cargo bench --bench hot_paths`.

#![expect(missing_docs, reason = "criterion generates the function of a group")]
#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot be set up must stop")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use onsale::queue::{
    Board, BoardBuilder, BoardFacts, BoardReading, DeadEntry, LineSettings, PlaceRange, Progress,
    Token, TokenKeys,
};
use onsale::words::{ConcertId, Place};

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
        seats: 50,
        settings: LineSettings { capacity: 1000, batch: 100, paused: false, opens_at_ms: 0 },
    };
    let mut builder = BoardBuilder::new(Duration::from_mins(10));
    let ask = builder.ask(Instant::now());
    let reading = BoardReading { facts, dead: (1..=left).map(dead).collect(), dead_complete: true };
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

criterion_group!(benches, check_token, find_position);
criterion_main!(benches);
