//! The line.

use super::redis::Redis;
use super::{Call, Case, DATE, LATER, case};

/// Stands in line in lots, which is quicker.
fn fill(redis: &mut Redis, people: usize) {
    let first = 1_000_000;
    for lot in (0..people).step_by(1_000) {
        let places = (lot..people.min(lot + 1_000)).map(|n| first + n);
        let items: Vec<String> = places.map(|place| format!("{place} {place}")).collect();
        redis.run(&format!("ZADD waiting {}", items.join(" ")));
    }
    redis.run(&format!("SET seq {}", first + people));
}

pub fn cases() -> Vec<Case> {
    let board = include_str!("../../lua/queue/board.lua");
    let enter = include_str!("../../lua/queue/enter.lua");
    let promote = include_str!("../../lua/queue/promote.lua");
    let mut cases: Vec<Case> = [1_000, 100_000]
        .map(|size| Case { setup: fill, ..case("queue/board", board, size, "board", read_board) })
        .into();
    for (name, size, prepare) in [
        ("queue/enter, anonymous", 1, enter_anonymous as fn(&mut Redis, usize, usize) -> Call),
        ("queue/enter, anonymous", 64, enter_anonymous),
        ("queue/enter, named", 1, enter_named),
        ("queue/enter, named", 64, enter_named),
    ] {
        let setup = |redis: &mut Redis, _| fill(redis, 100_000);
        cases.push(Case { setup, ..case(name, enter, size, "entered", prepare) });
    }
    for size in [1, 64] {
        cases.push(case("queue/promote", promote, size, "promoted", let_in));
    }
    let claim = include_str!("../../lua/queue/claim.lua");
    let leave = include_str!("../../lua/queue/leave.lua");
    let settle = include_str!("../../lua/queue/settle.lua");
    cases.push(case("queue/claim", claim, 1, "active", first_use));
    cases.push(case("queue/leave", leave, 1, "left", give_up));
    cases.push(case("queue/settle", settle, 1, "settled", |_, _, _| {
        Call::default().keys(&["seq", "run", "dead", "waiting", "epoch"]).arg(0)
    }));
    cases
}

fn read_board(_: &mut Redis, _: usize, _: usize) -> Call {
    let keys = ["run", "epoch", "seq", "waiting", "dead", "active", "settings", "stats", "sold"];
    Call::default().keys(&keys).arg(0).arg(1_000)
}

fn entering(n: usize) -> Call {
    let keys = ["seq", "epoch", "waiting", "active", "users", "stats"];
    Call::default().key(format!("group:{n}")).keys(&keys).arg(0).arg("e").arg(5_000)
}

fn enter_anonymous(_: &mut Redis, size: usize, n: usize) -> Call {
    entering(n).arg(format!("-{size}"))
}

fn enter_named(_: &mut Redis, size: usize, n: usize) -> Call {
    (0..size).fold(entering(n), |call, arrival| call.arg(1 + n * size + arrival))
}

fn let_in(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL active pace waiting");
    for place in 0..size {
        let place = 1 + n * size + place;
        redis.run(&format!("ZADD waiting {place} {place}:{place}"));
    }
    let keys = ["run", "epoch", "waiting", "active", "pace", "settings", "stats", "dead", "sold"];
    let call = Call::default().keys(&keys).arg("r").arg("e").arg(100_000).arg(10_000);
    redis.run("HSET pace at 1 credit 1000");
    call.arg(60_000).arg(0).arg(50).arg("token:")
}

fn first_use(redis: &mut Redis, _: usize, n: usize) -> Call {
    redis.run(&format!("SET token {n}:0:{}", LATER - 1_000));
    redis.run(&format!("ZADD active {LATER} {n}"));
    let call = Call::default().keys(&["token", "active", "waiting", "users", "stats"]);
    call.arg(n).arg(n).arg(300_000).arg(3_600_000)
}

fn give_up(redis: &mut Redis, _: usize, n: usize) -> Call {
    redis.run(&format!("ZADD waiting {n} {n}:7"));
    redis.run(&format!("HSET users 7 {n}"));
    let keys = ["waiting", "dead", "users", "active", "token", "paying", "stats", "holds"];
    let call = Call::default().keys(&keys).keys(&["held", "hold", "version"]);
    call.arg(n).arg(7).arg(7).arg(format!("v{n}")).arg(DATE)
}
