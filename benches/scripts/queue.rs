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

/// People in line.
const LENGTHS: [usize; 3] = [1_000, 100_000, 1_000_000];

pub fn cases() -> Vec<Case> {
    let board = include_str!("../../lua/queue/board.lua");
    let enter = include_str!("../../lua/queue/enter.lua");
    let promote = include_str!("../../lua/queue/promote.lua");
    let mut cases = Vec::new();
    for length in LENGTHS {
        // The size is how many dead numbers a board has to read.
        for dead in [0, 1_000] {
            let name = format!("queue/board, {length} waiting, dead");
            cases.push(case(name, board, dead, "board", read_board).after(move |redis, dead| {
                fill(redis, length);
                die(redis, dead);
            }));
        }
        for (kind, arrive) in
            [("anonymous", enter_anonymous as fn(usize, usize) -> Call), ("named", enter_named)]
        {
            for size in [1, 16, 64] {
                let name = format!("queue/enter, {kind}, {length} waiting");
                let prepare = move |redis: &mut Redis, size, n| {
                    // The line stays as long as it is.
                    redis.run(&format!("ZREMRANGEBYRANK waiting {length} -1"));
                    arrive(size, n)
                };
                let case = case(name, enter, size, "entered", prepare);
                cases.push(case.after(move |redis, _| fill(redis, length)));
            }
        }
        for size in [1, 64] {
            let name = format!("queue/promote, {length} waiting");
            let case = case(name, promote, size, "promoted", let_in);
            cases.push(case.after(move |redis, _| fill(redis, length)));
        }
    }
    let claim = include_str!("../../lua/queue/claim.lua");
    let leave = include_str!("../../lua/queue/leave.lua");
    let settle = include_str!("../../lua/queue/settle.lua");
    cases.push(case("queue/claim", claim, 1, "active", first_use));
    cases.push(case("queue/leave", leave, 1, "left", give_up));
    cases.push(case("queue/settle, another turn", settle, 1, "settled", settle_anew));
    // What nearly every call finds.
    let settled = case("queue/settle, nothing to do", settle, 1, "settled", settle_call);
    cases.push(settled.after(|redis, _| {
        fill(redis, 1_000);
        redis.run(&format!("SET run {}", redis.turn));
    }));
    cases
}

/// Gives dead numbers to a line.
fn die(redis: &mut Redis, dead: usize) {
    for ordinal in 1..=dead {
        redis.run(&format!("ZADD dead {ordinal} {}", 1_000_000 + 2 * ordinal));
    }
}

fn settle_call(_: &mut Redis, _: usize, _: usize) -> Call {
    Call::default().keys(&["seq", "run", "dead", "waiting", "epoch", "skipped", "draw"]).arg(0)
}

fn settle_anew(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("SET run another");
    settle_call(redis, size, n)
}

fn read_board(_: &mut Redis, _: usize, _: usize) -> Call {
    let keys = ["run", "epoch", "seq", "waiting", "dead", "active", "settings", "stats"];
    Call::default().keys(&keys).keys(&["draw", "sold", "held"]).arg(0).arg(1_000)
}

fn entering(n: usize) -> Call {
    let keys = ["seq", "epoch", "waiting", "active", "users", "stats", "run", "settings", "draw"];
    let call = Call::default().key(format!("group:{n}")).keys(&keys);
    call.arg(0).arg("e").arg(5_000).arg(0).arg(0)
}

fn enter_anonymous(size: usize, n: usize) -> Call {
    entering(n).arg(format!("-{size}"))
}

fn enter_named(size: usize, n: usize) -> Call {
    (0..size).fold(entering(n), |call, arrival| call.arg(1 + n * size + arrival))
}

/// Lets the first of the line in; as many come to its end, so that it stays as long as it is.
fn let_in(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL active");
    let last = 1_000_000_000 + n * size;
    let places = (last..last + size).map(|place| format!("{place} {place}:{place}"));
    redis.run(&format!("ZADD waiting {}", places.collect::<Vec<_>>().join(" ")));
    redis.run("HSET pace at 1 credit 1000");
    let keys = ["run", "epoch", "waiting", "active", "pace", "settings", "stats", "dead"];
    let call = Call::default()
        .keys(&keys)
        .keys(&["draw", "sold", "held"])
        .arg(&redis.turn)
        .arg("e")
        .arg(100_000)
        .arg(size);
    call.arg(60_000).arg(0).arg(0).arg(50).arg("token:").arg("").arg(0)
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
