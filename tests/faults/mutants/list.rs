//! What protects money, seats and the line, how each protection is taken out, and what then breaks.
//!
//! Only data and how it is applied: `tests/tidy.rs` reads this file too, and sees to it that every
//! patch still fits.

use std::collections::BTreeMap;
use std::path::Path;

/// One protection, and how to take it out.
#[derive(Debug)]
pub struct Protection {
    pub name: &'static str,
    /// Replacements in `lua/` and `migrations/`; each text must be there exactly once.
    pub patches: &'static [Patch],
    /// Whether it is in the Rust code: then `mutant::lacks` says so.
    pub in_rust: bool,
}

/// A replacement in a file of the repository.
#[derive(Debug)]
pub struct Patch {
    pub file: &'static str,
    pub find: &'static str,
    pub put: &'static str,
}

/// A server without one protection.
#[derive(Debug)]
pub struct Mutant {
    pub lacks: &'static Protection,
    /// Other protections against the same, which would hide that it is missing: taken out too, also
    /// in the run that shows that without them it suffices.
    pub besides: &'static [&'static Protection],
    /// The run in which it shows.
    pub stage: &'static str,
    /// The invariants that it keeps: at least one of them breaks without it.
    pub keeps: &'static [&'static str],
}

impl Mutant {
    pub const fn name(&self) -> &'static str {
        self.lacks.name
    }

    /// Everything that is taken out.
    pub fn out(&self) -> Vec<&'static Protection> {
        self.besides.iter().copied().chain([self.lacks]).collect()
    }
}

/// The files of the repository at `root` that change without these protections, as they are then.
///
/// # Errors
///
/// If a text that is to be replaced is not there exactly once.
pub fn patched(root: &Path, out: &[&Protection]) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut files = BTreeMap::new();
    for Patch { file, find, put } in out.iter().flat_map(|protection| protection.patches) {
        if !files.contains_key(file) {
            files.insert(*file, std::fs::read_to_string(root.join(file))?);
        }
        let text = files.entry(*file).or_default();
        let found = text.matches(find).count();
        anyhow::ensure!(found == 1, "{file} has {found} times: {find}");
        *text = text.replace(find, put);
    }
    Ok(files)
}

const fn patched_out(name: &'static str, patches: &'static [Patch]) -> Protection {
    Protection { name, patches, in_rust: false }
}

const fn in_rust(name: &'static str) -> Protection {
    Protection { name, patches: &[], in_rust: true }
}

const fn sql(find: &'static str, put: &'static str) -> Patch {
    Patch { file: "migrations/0001_money.sql", find, put }
}

const fn lua(file: &'static str, find: &'static str, put: &'static str) -> Patch {
    Patch { file, find, put }
}

// Money and ownership: PostgreSQL.

static ENOUGH_MONEY: Protection = patched_out(
    "conditional-update",
    &[sql("where b.user_id = p_user and b.balance >= v_total", "where b.user_id = p_user")],
);
static BALANCE_CHECKS: Protection = patched_out(
    "balance-checks",
    &[
        sql("check (balance between 0 and 1000000000000)", "check (true)"),
        sql("check (balance_after between 0 and 1000000000000)", "check (true)"),
    ],
);
static BALANCES_KEY: Protection = patched_out(
    "balances_pkey",
    &[
        sql("user_id bigint constraint balances_pkey primary key,", "user_id bigint,"),
        sql(
            "constraint ledger_user_id_fkey foreign key (user_id) references balances (user_id),",
            "",
        ),
    ],
);
static PLACE_KEY: Protection = patched_out(
    "payments_concert_id_place_key",
    &[
        sql("constraint payments_concert_id_place_key unique (concert_id, place),", ""),
        sql(
            "on conflict on constraint payments_concert_id_place_key do nothing",
            "on conflict do nothing",
        ),
    ],
);
static PAYMENTS_KEY: Protection = patched_out(
    "payments_pkey",
    &[
        sql("id uuid constraint payments_pkey primary key,", "id uuid,"),
        sql(
            "constraint owned_seats_payment_id_fkey foreign key (payment_id) references payments (id),",
            "",
        ),
        sql(
            "constraint ledger_payment_id_fkey foreign key (payment_id) references payments (id),",
            "",
        ),
    ],
);
static SEAT_KEY: Protection = patched_out(
    "owned_seats_pkey",
    &[sql("constraint owned_seats_pkey primary key (concert_id, concert_date, seat_number),", "")],
);
static RESERVATION_KEY: Protection = patched_out(
    "owned_seats_reservation_id_key",
    &[sql("constraint owned_seats_reservation_id_key unique (reservation_id),", "")],
);
static LEDGER_REQUEST_KEY: Protection = patched_out(
    "ledger_request_id_key",
    &[sql("constraint ledger_request_id_key unique (request_id),", "")],
);
static LEDGER_PAYMENT_KEY: Protection = patched_out(
    "ledger_payment_id_key",
    &[sql("constraint ledger_payment_id_key unique (payment_id),", "")],
);
static REQUEST_LOOKUP: Protection = patched_out(
    "request-lookup",
    &[sql("from ledger l where l.request_id = p_request;", "from ledger l where false;")],
);
static IDEMPOTENCY_KEY: Protection = patched_out(
    "idempotency_keys_pkey",
    &[sql("constraint idempotency_keys_pkey primary key (user_id, key),", "")],
);
static FINGERPRINT: Protection = patched_out(
    "idempotency-fingerprint",
    &[sql("v_row.endpoint <> p_endpoint or v_row.fingerprint <> p_fingerprint", "false")],
);
// The line and the holds: Redis.

static CAPACITY: Protection = patched_out(
    "capacity",
    &[lua(
        "lua/queue/promote.lua",
        "math.min(math.floor(credit), capacity - live)",
        "math.floor(credit)",
    )],
);
static ORDER: Protection = patched_out(
    "order-of-the-line",
    &[lua(
        "lua/queue/promote.lua",
        "'ZRANGEBYSCORE', waiting, '-inf', '(' .. first",
        "'ZREVRANGEBYSCORE', waiting, '+inf', '-inf'",
    )],
);
static ONE_PLACE: Protection = patched_out(
    "one-place-per-user",
    &[lua(
        "lua/queue/enter.lua",
        "named_count > 0 and redis.call('HMGET', users, unpack(named)) or {}",
        "{}",
    )],
);
static FLOOR: Protection = patched_out(
    "floor-of-numbers",
    &[
        lua("lua/queue/settle.lua", "if seq and seq >= floor and", "if seq and"),
        lua("lua/queue/enter.lua", "last and last >= floor and", "last and"),
    ],
);
static PROCESS: Protection = patched_out(
    "run-id",
    &[lua(
        "lua/queue/settle.lua",
        " and redis.call('GET', run_key) == run then",
        " then redis.call('SET', run_key, run)",
    )],
);
static ONLY_IF_FREE: Protection = patched_out(
    "hold-only-if-free",
    &[lua(
        "lua/seats/hold.lua",
        "if ends_ms > now_ms then\n",
        "if ends_ms > now_ms and string.match(redis.call('HGET', hold, seat) or '', '^[^:]+:(%d+):') == place then\n",
    )],
);
static SEATS_MAX: Protection =
    patched_out("most-holds", &[lua("lua/seats/hold.lua", "live + #fresh > seats_max", "false")]);
static GENERATION: Protection = patched_out(
    "generation",
    &[lua("lua/seats/hold.lua", "known[1] ~= ARGV[1] or known[2] ~= ARGV[2]", "false")],
);
static HARD_DEADLINE: Protection = patched_out(
    "hard-deadline",
    &[lua("lua/payments/begin.lua", "soonest_hard_ms < now_ms + extension_ms", "false")],
);
static HOLDS_TTL: Protection = patched_out(
    "ttl-of-holds",
    &[lua(
        "lua/seats/hold.lua",
        "redis.call('PEXPIREAT', holds, hard, #entries",
        "redis.call('PEXPIREAT', holds, hard + 60000, #entries",
    )],
);

// The order of things: Rust.

static WINNER_CHECK: Protection = in_rust("winner-check");
static OWNER_CHECK: Protection = in_rust("owner-check");
static SPAWNED_PAYMENT: Protection = in_rust("spawned-payment");
static RECONCILER: Protection = in_rust("reconciler");

const fn alone(
    lacks: &'static Protection,
    stage: &'static str,
    keeps: &'static [&'static str],
) -> Mutant {
    Mutant { lacks, besides: &[], stage, keeps }
}

const fn beside(
    besides: &'static [&'static Protection],
    lacks: &'static Protection,
    stage: &'static str,
    keeps: &'static [&'static str],
) -> Mutant {
    Mutant { lacks, besides, stage, keeps }
}

/// Every mutant.
pub static MUTANTS: &[Mutant] = &[
    beside(&[&BALANCE_CHECKS], &ENOUGH_MONEY, "calm", &["M4"]),
    alone(&BALANCES_KEY, "buyers", &["D5"]),
    alone(&PLACE_KEY, "buyers", &["S7", "D3"]),
    beside(&[&PLACE_KEY, &RESERVATION_KEY], &SEAT_KEY, "buyers", &["S1"]),
    beside(&[&PLACE_KEY, &SEAT_KEY], &RESERVATION_KEY, "buyers", &["S1"]),
    beside(
        &[&PLACE_KEY, &LEDGER_REQUEST_KEY, &LEDGER_PAYMENT_KEY],
        &PAYMENTS_KEY,
        "answers lost",
        &["M3"],
    ),
    beside(
        &[&PLACE_KEY, &PAYMENTS_KEY, &LEDGER_REQUEST_KEY],
        &LEDGER_PAYMENT_KEY,
        "answers lost",
        &["M3"],
    ),
    beside(&[&REQUEST_LOOKUP], &LEDGER_REQUEST_KEY, "answers lost", &["M2"]),
    alone(&IDEMPOTENCY_KEY, "calm", &["M2", "D1"]),
    alone(&FINGERPRINT, "calm", &["D2"]),
    alone(&OWNER_CHECK, "calm", &["X1"]),
    alone(&CAPACITY, "calm", &["Q1"]),
    alone(&ORDER, "calm", &["Q2", "Q5"]),
    alone(&ONE_PLACE, "calm", &["Q4"]),
    alone(&ONLY_IF_FREE, "calm", &["S4"]),
    alone(&SEATS_MAX, "grabbers", &["S8"]),
    beside(&[&HOLDS_TTL], &HARD_DEADLINE, "dawdlers", &["S3"]),
    alone(&WINNER_CHECK, "marks lost", &["S5"]),
    beside(&[&WINNER_CHECK], &GENERATION, "tail lost", &["S5"]),
    beside(&[&FLOOR], &PROCESS, "tail lost", &["X1", "X3"]),
    beside(&[&RECONCILER], &SPAWNED_PAYMENT, "hang-ups", &["R1"]),
];

/// The mutants with these names, separated by commas; of `all`, every one.
///
/// # Errors
///
/// If there is none with one of the names.
pub fn chosen(names: &str) -> anyhow::Result<Vec<&'static Mutant>> {
    if names == "all" {
        return Ok(MUTANTS.iter().collect());
    }
    let chosen = names.split(',').map(|name| {
        MUTANTS.iter().find(|mutant| mutant.name() == name).ok_or_else(|| {
            let all: Vec<_> = MUTANTS.iter().map(Mutant::name).collect();
            anyhow::anyhow!("there is no mutant {name:?}; there are {}", all.join(", "))
        })
    });
    chosen.collect()
}
