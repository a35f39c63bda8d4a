//! Seats.

use super::redis::Redis;
use super::{Call, Case, DATE, LATER, case, hold};

/// The deadline of a withheld seat, Unix ms.
const NEVER: u64 = 253_402_300_799_999;

pub fn cases() -> Vec<Case> {
    let list = include_str!("../../lua/seats/list.lua");
    let mut cases = Vec::new();
    for (name, source, sizes, tag, prepare) in [
        (
            "seats/hold",
            include_str!("../../lua/seats/hold.lua"),
            [1, 10],
            "held",
            take as fn(&mut Redis, usize, usize) -> Call,
        ),
        ("seats/holds", include_str!("../../lua/seats/holds.lua"), [1, 10], "holds", mine),
        (
            "seats/release",
            include_str!("../../lua/seats/release.lua"),
            [1, 10],
            "released",
            release,
        ),
        ("seats/sweep", include_str!("../../lua/seats/sweep.lua"), [1, 200], "swept", sweep),
        (
            "seats/restore",
            include_str!("../../lua/seats/restore.lua"),
            [1, 200],
            "restored",
            restore,
        ),
        (
            "seats/correct",
            include_str!("../../lua/seats/correct.lua"),
            [1, 200],
            "corrected",
            correct,
        ),
    ] {
        cases.extend(sizes.map(|size| case(name, source, size, tag, prepare)));
    }
    cases.extend(of_operators());
    let of_dates = include_str!("../../lua/seats/dates.lua");
    cases.extend(
        [1, 40].map(|size| case("seats/dates", of_dates, size, "dates", dates).after(sell_some)),
    );
    cases.extend(
        [50, 50_000].map(|size| case("seats/list", list, size, "list", read).after(sell_most)),
    );
    cases
}

/// What operators hold back, and give back.
fn of_operators() -> Vec<Case> {
    let sources = [
        (
            "seats/withhold",
            include_str!("../../lua/seats/withhold.lua"),
            "withheld",
            withhold as fn(&mut Redis, usize, usize) -> Call,
        ),
        ("seats/give_back", include_str!("../../lua/seats/give_back.lua"), "given_back", give_back),
        (
            "seats/rewithhold",
            include_str!("../../lua/seats/rewithhold.lua"),
            "withheld",
            withhold_again,
        ),
    ];
    let of =
        |(name, source, tag, prepare)| [1, 200].map(|size| case(name, source, size, tag, prepare));
    sources.into_iter().flat_map(of).collect()
}

fn withhold(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL held hold sold audit");
    let keys = ["run", "epoch", "sold", "held", "hold", "version", "stats", "audit"];
    let call = Call::default().keys(&keys).arg(&redis.turn).arg("e");
    (1..=size).fold(call.arg(format!("v{n}")).arg("bench").arg(DATE), Call::arg)
}

fn give_back(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL held hold audit");
    for seat in 1..=size {
        redis.run(&format!("ZADD held {NEVER} {seat}"));
        redis.run(&format!("HSET hold {seat} r:0:0:0:{NEVER}"));
    }
    let keys = ["run", "epoch", "held", "hold", "version", "stats", "audit"];
    let call = Call::default().keys(&keys).arg(&redis.turn).arg("e");
    (1..=size).fold(call.arg(format!("v{n}")).arg("bench").arg(DATE), Call::arg)
}

fn withhold_again(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL held hold sold");
    let call = Call::default().keys(&["rebuild", "sold", "held", "hold", "version", "stats"]);
    (1..=size).fold(call.arg("").arg(0).arg(format!("v{n}")), Call::arg)
}

fn take(redis: &mut Redis, size: usize, n: usize) -> Call {
    hold(redis, n, 0);
    redis.run(&format!("SET token 7:1:{}", LATER - 1_000));
    let keys = ["run", "epoch", "token", "active", "paying", "holds", "stats"];
    let call = Call::default().keys(&keys).keys(&["held", "hold", "sold", "version"]);
    let call = call.key(format!("held:{DATE}")).key(format!("hold:{DATE}"));
    let call =
        call.arg(&redis.turn).arg("e").arg(n).arg(7).arg(format!("v{n}")).arg(DATE).arg(LATER);
    let call = call.arg(100).arg(300_000).arg(60_000).arg(60_000).arg(3_600_000).arg(20);
    (1..=size).fold(call, |call, seat| call.arg(seat).arg(format!("r{n}-{seat}")))
}

fn mine(redis: &mut Redis, size: usize, n: usize) -> Call {
    hold(redis, n, size);
    redis.run(&format!("RENAME held held:{DATE}"));
    redis.run(&format!("RENAME hold hold:{DATE}"));
    Call::default().key("holds").key(format!("held:{DATE}")).key(format!("hold:{DATE}"))
}

fn release(redis: &mut Redis, size: usize, n: usize) -> Call {
    hold(redis, n, size);
    let call = Call::default().keys(&["paying", "holds", "stats", "held", "hold", "version"]);
    let call = call.arg(format!("v{n}")).arg(n).arg(7).arg(DATE).arg("asked");
    (1..=size).fold(call, |call, seat| call.arg(seat).arg(format!("r{seat}")))
}

fn dates(_: &mut Redis, size: usize, _: usize) -> Call {
    (0..size)
        .fold(Call::default(), |call, n| call.key(format!("sold:{n}")).key(format!("held:{n}")))
}

/// Of every date, half of 5,000 seats are sold and fifty are held.
fn sell_some(redis: &mut Redis, dates: usize) {
    for date in 0..dates {
        redis.run(&format!("SETRANGE sold:{date} 0 {}", "U".repeat(5_000 / 8)));
        let held = (1..=50).map(|seat| format!("{LATER} {seat}"));
        redis.run(&format!("ZADD held:{date} {}", held.collect::<Vec<_>>().join(" ")));
    }
}

fn sweep(redis: &mut Redis, size: usize, n: usize) -> Call {
    for seat in 1..=size {
        redis.run(&format!("ZADD held 1 {seat}"));
        redis.run(&format!("HSET hold {seat} r:1:7:100:2"));
    }
    let call = Call::default().keys(&["held", "hold", "version", "stats"]);
    call.arg(format!("v{n}")).arg(200)
}

fn restore(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL sold");
    let call = Call::default().keys(&["rebuild", "sold", "held", "hold", "version", "stats"]);
    (1..=size).fold(call.arg("").arg(0).arg(format!("v{n}")), Call::arg)
}

fn correct(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("SET version seen");
    for seat in 1..=size {
        redis.run(&format!("SETBIT sold {seat} 1"));
    }
    let call = Call::default().keys(&["sold", "version", "stats"]);
    (1..=size).fold(call.arg("seen").arg(format!("v{n}")), Call::arg)
}

/// Half of the seats are sold, fifty are held.
fn sell_most(redis: &mut Redis, size: usize) {
    hold(redis, 1, 50);
    redis.run(&format!("SETRANGE sold 0 {}", "U".repeat(size / 8)));
}

fn read(_: &mut Redis, _: usize, _: usize) -> Call {
    Call::default().keys(&["version", "sold", "held"])
}
