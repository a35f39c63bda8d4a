//! What a run under faults has seen: every operation of every client, every fault, and what both
//! stores hold in the end.
//!
//! Written as JSON lines, one [`Entry`] a line, so that a run that dies leaves what it saw. All
//! times are microseconds on the one monotonic clock of the process that runs the clients.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of a history's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Entry {
    Setup(Setup),
    Op(Op),
    Fault(FaultSpan),
    Sample(Sample),
    Stall(Stall),
    Finals(Box<Finals>),
}

/// A whole run.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub setup: Setup,
    pub ops: Vec<Op>,
    pub faults: Vec<FaultSpan>,
    pub samples: Vec<Sample>,
    pub stalls: Vec<Stall>,
    pub finals: Finals,
}

/// What the run was made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Setup {
    /// Reproduces the run, together with the commit.
    pub seed: u64,
    /// What Redis was made of.
    #[serde(default)]
    pub topology: String,
    pub concerts: Vec<ConcertSetup>,
    /// One name per server; [`Op::server`] is an index into it.
    pub servers: Vec<String>,
    pub seats_per_user_max: usize,
    /// How long a hold lasts.
    pub hold_us: u64,
    /// How much longer at most, while it is being paid.
    pub hold_grace_us: u64,
    /// How long a promoted token lives until its first use.
    pub claim_ttl_us: u64,
    /// After this a server has answered, or given up.
    pub request_deadline_us: u64,
    /// How old the board may be from which a server answers a poll.
    pub board_age_us: u64,
    /// How long after a fault everything must work again.
    pub recovery_us: u64,
}

/// One concert of the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConcertSetup {
    pub id: u32,
    /// `YYYY-MM-DD`.
    pub dates: Vec<String>,
    /// Seats of each date, numbered from 1.
    pub seats: u32,
    pub price: i64,
    /// The most active tokens.
    pub capacity: u64,
}

/// One request of a client, with what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Op {
    pub id: u64,
    /// A client sends one request at a time.
    pub client: u32,
    pub server: usize,
    /// Whose client it is; what the request names may be somebody else.
    pub user: u64,
    pub invoked_us: u64,
    pub returned_us: u64,
    pub call: Call,
    pub outcome: Outcome,
}

/// What was sent, as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Call {
    Join {
        user: Option<u64>,
        concert: Option<u32>,
    },
    Poll {
        token: String,
    },
    Leave {
        token: String,
    },
    Dates {
        token: String,
        concert: Option<u32>,
    },
    Seats {
        token: String,
        concert: Option<u32>,
        date: String,
    },
    Reserve {
        token: String,
        user: u64,
        concert: Option<u32>,
        date: Option<String>,
        seats: Vec<u32>,
    },
    Release {
        token: String,
        user: u64,
        concert: Option<u32>,
        reservation: String,
    },
    Charge {
        token: String,
        user: u64,
        amount: i64,
        key: Option<String>,
    },
    Balance {
        token: String,
        user: u64,
    },
    Pay {
        token: String,
        user: u64,
        key: Option<String>,
    },
    Reservations {
        token: String,
        user: u64,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// 2xx.
    Ok { status: u16, body: Value },
    /// A definite refusal: 4xx, or a 503 that says that nothing happened.
    Fail { status: u16, code: String, body: Value, retry_after: Option<String> },
    /// It may have happened, at any later time: no answer, half an answer, `outcome-unknown`, or a
    /// status that the API does not have (then `status` says which).
    Info { reason: String, status: Option<u16>, retry_after: Option<String> },
}

/// When a fault was switched on and off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultSpan {
    pub from_us: u64,
    pub to_us: u64,
    pub kind: String,
    /// Whether it can drop data of Redis.
    pub loss: bool,
    /// The server that cannot hear its clients, or be heard, or does not run.
    pub cut_off: Option<usize>,
}

/// When the machine was too busy to wake a sleeper: nothing that runs on it can keep its time then.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Stall {
    pub from_us: u64,
    pub to_us: u64,
}

/// The tokens of a concert in one moment, as Redis counted them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sample {
    pub at_us: u64,
    pub concert: u32,
    /// `ZCOUNT active (now +inf`.
    pub active: u64,
    /// The capacity in force at that moment.
    pub capacity: u64,
    /// All that were ever given, by the counters.
    pub issued: u64,
    /// What became of them: waiting, active or kept as such until they are swept, and by the
    /// counters expired, consumed and left.
    pub accounted: u64,
}

/// What was there when everything had healed and come to rest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Finals {
    /// When it was read.
    pub at_us: u64,
    pub payments: Vec<PaymentRow>,
    pub owned_seats: Vec<OwnedRow>,
    /// In the order of their ids.
    pub ledger: Vec<LedgerRow>,
    pub balances: BTreeMap<u64, i64>,
    pub idempotency_keys: Vec<KeyRow>,
    /// Connections of PostgreSQL in `idle in transaction`, after a second of rest (R3).
    pub idle_in_transaction: u64,
    pub redis: Vec<RedisFinals>,
    pub servers: Vec<ServerFinals>,
    /// Scripts and statements that were sent a second time, at rest (D5).
    pub repeats: Vec<Repeat>,
}

/// A row of `payments`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PaymentRow {
    pub id: String,
    pub user: u64,
    pub concert: u32,
    pub place: u64,
    pub total: i64,
}

/// A row of `owned_seats`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OwnedRow {
    pub concert: u32,
    pub date: String,
    pub seat: u32,
    pub payment: String,
    pub reservation: String,
    pub price: i64,
}

/// A row of `ledger`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LedgerRow {
    pub id: i64,
    pub user: u64,
    pub request: String,
    pub amount: i64,
    pub balance_after: i64,
    pub payment: Option<String>,
}

/// A row of `idempotency_keys`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyRow {
    pub user: u64,
    pub key: String,
    /// `charge` or `pay`.
    pub endpoint: String,
}

/// What Redis holds of one concert.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RedisFinals {
    pub concert: u32,
    /// `TIME` of the read, Unix ms.
    pub now_ms: u64,
    /// Date -> the seats whose bit is set, ascending.
    pub sold: BTreeMap<String, Vec<u32>>,
    /// Date -> seat -> deadline in Unix ms: `held:<date>`.
    pub held: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Date -> field -> value: `hold:<date>`.
    pub hold: BTreeMap<String, BTreeMap<String, String>>,
    /// Place -> expiry in Unix ms: all of `active`.
    pub active: BTreeMap<u64, u64>,
    /// `ZCARD waiting`.
    pub waiting: u64,
    pub stats: BTreeMap<String, u64>,
    /// Keys that never end by themselves.
    pub without_ttl: Vec<String>,
}

/// One server, at the start of its process and at rest after the load (R3, X2, X4). What was not
/// measured is `None`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerFinals {
    pub server: usize,
    pub resident_kb: Option<Span>,
    /// Open sockets and files: `/proc/<pid>/fd`.
    pub descriptors: Option<Span>,
    pub threads: Option<Span>,
    /// Panics in its log.
    pub panics: u64,
    /// One request that needs PostgreSQL per connection of the pool, all at once: how many were
    /// answered 2xx, and how many were sent.
    pub pool_answered: Option<(u64, u64)>,
}

/// A quantity at the start and at rest after the load.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Span {
    pub before: u64,
    pub after: u64,
}

/// A script or statement that was sent twice, with what the stores held after each.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Repeat {
    pub what: String,
    pub after_first: Value,
    pub after_second: Value,
}

impl Entry {
    /// Writes this entry as one line.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut to, self)?;
        to.write_all(b"\n")
    }
}

impl History {
    /// Reads the entries of a file, in any order.
    pub fn read(from: impl BufRead) -> io::Result<Self> {
        let mut history = Self::default();
        for line in from.lines() {
            match serde_json::from_str(&line?)? {
                Entry::Setup(setup) => history.setup = setup,
                Entry::Op(op) => history.ops.push(op),
                Entry::Fault(fault) => history.faults.push(fault),
                Entry::Sample(sample) => history.samples.push(sample),
                Entry::Stall(stall) => history.stalls.push(stall),
                Entry::Finals(finals) => history.finals = *finals,
            }
        }
        Ok(history)
    }
}
