//! Payments, and the rebuild.

use super::redis::Redis;
use super::{Call, Case, DATE, case, hold};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, source, sizes, tag, prepare) in [
        (
            "payments/begin",
            include_str!("../../lua/payments/begin.lua"),
            [1, 10],
            "begun",
            begin as fn(&mut Redis, usize, usize) -> Call,
        ),
        (
            "payments/finish",
            include_str!("../../lua/payments/finish.lua"),
            [1, 10],
            "finished",
            finish,
        ),
        ("payments/seal", include_str!("../../lua/payments/seal.lua"), [0, 100], "sealed", seal),
    ] {
        cases.extend(sizes.map(|size| case(name, source, size, tag, prepare)));
    }
    let cancel = include_str!("../../lua/payments/cancel.lua");
    let rebuild = include_str!("../../lua/payments/rebuild.lua");
    cases.push(case("payments/cancel", cancel, 1, "cancelled", |redis, _, n| {
        redis.run(&format!("ZADD paying 1 a{n}"));
        Call::default().key("paying").arg(format!("a{n}"))
    }));
    cases.push(case("payments/rebuild", rebuild, 1, "locked", |redis, _, n| {
        redis.run("DEL rebuild epoch");
        Call::default().keys(&["rebuild", "epoch"]).arg(n).arg(10_000)
    }));
    cases
}

fn begin(redis: &mut Redis, size: usize, n: usize) -> Call {
    hold(redis, n, size);
    let call = Call::default().keys(&["token", "active", "paying", "holds", "held", "hold"]);
    call.arg(n).arg(7).arg(format!("a{n}")).arg(10_000).arg(20_000).arg(DATE)
}

fn finish(redis: &mut Redis, size: usize, n: usize) -> Call {
    hold(redis, n, size);
    let keys = ["token", "active", "waiting", "dead", "users", "paying", "holds", "stats"];
    let call = Call::default().keys(&keys).keys(&["held", "hold", "sold", "version"]);
    let call = call.arg(n).arg(7).arg(format!("v{n}")).arg(1).arg(DATE);
    (1..=size).fold(call, |call, seat| call.arg(1).arg(seat).arg(format!("r{seat}")))
}

fn seal(redis: &mut Redis, size: usize, n: usize) -> Call {
    redis.run("DEL settings");
    redis.run(&format!("SET rebuild {n}"));
    let call = Call::default().keys(&["rebuild", "epoch", "settings"]).arg(n).arg(format!("e{n}"));
    let call = call.arg(10_000);
    (0..size).fold(call, |call, field| call.arg(format!("field{field}")).arg(1))
}
