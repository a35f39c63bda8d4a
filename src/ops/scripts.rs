//! The script of this slice: what a sale is like at this moment.

use serde::Serialize;
use utoipa::ToSchema;

use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};

static SAMPLE: LuaScript = LuaScript::new("ops/sample", include_str!("../../lua/ops/sample.lua"));

/// Every script of this slice.
pub static SCRIPTS: &[&LuaScript] = &[&SAMPLE];

/// Takes a sample, and writes it down unless another server did in this second.
#[derive(Debug)]
pub struct TakeSample<'a> {
    /// Of which concert.
    pub concert: &'a Concert,
    /// Who asks.
    pub server: &'a str,
    /// How often it was polled since it started.
    pub polls: u64,
    /// What somebody who came now would be told to wait, in seconds.
    pub estimate: Option<u64>,
}

/// A sale at one moment. The counters are those of `{c<id>}:stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/redis-keys.md says what each is")]
pub struct Sample {
    /// Redis' clock, Unix ms.
    pub now_ms: u64,
    /// How many servers were seen within a minute.
    pub servers: u64,
    pub waiting: u64,
    pub active: u64,
    pub held: u64,
    pub withheld: u64,
    pub sold: u64,
    pub last: Option<u64>,
    pub head: Option<u64>,
    pub estimate: Option<u64>,
    pub issued: u64,
    pub promoted: u64,
    pub claimed: u64,
    pub expired: u64,
    pub left: u64,
    pub consumed: u64,
    pub holds: u64,
    pub released: u64,
    pub lapsed: u64,
    pub polls: u64,
}

impl Sample {
    /// The fields of a row, in the order in which the script writes them.
    pub const FIELDS: &'static [&'static str] = &[
        "waiting", "active", "held", "withheld", "sold", "last", "head", "estimate", "issued",
        "promoted", "claimed", "expired", "left", "consumed", "holds", "released", "lapsed",
        "polls",
    ];

    /// The counters with their names.
    #[must_use]
    pub fn counters(&self) -> [(&'static str, u64); 10] {
        [
            ("issued", self.issued),
            ("promoted", self.promoted),
            ("claimed", self.claimed),
            ("expired", self.expired),
            ("left", self.left),
            ("consumed", self.consumed),
            ("holds", self.holds),
            ("released", self.released),
            ("lapsed", self.lapsed),
            ("polls", self.polls),
        ]
    }
}

impl ScriptCall for TakeSample<'_> {
    type Outcome = Sample;

    fn script() -> &'static LuaScript {
        &SAMPLE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.waiting).key(&keys.active).key(&keys.stats).key(&keys.seq);
        args.key(&keys.series).key(&keys.servers).key(&keys.polls).key(&keys.draw);
        for date in &self.concert.dates {
            args.key(&keys.sold(*date)).key(&keys.held(*date));
        }
        args.text(self.server).int(self.polls);
        match self.estimate {
            Some(seconds) => args.int(seconds),
            None => args.word(""),
        };
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<Sample, ReplyFault> {
        if tag != "sampled" {
            return Err(ReplyFault::Tag(tag.to_owned()));
        }
        Ok(Sample {
            now_ms: reply.int()?,
            servers: reply.int()?,
            waiting: reply.int()?,
            active: reply.int()?,
            held: reply.int()?,
            withheld: reply.int()?,
            sold: reply.int()?,
            last: reply.optional_int()?,
            head: reply.optional_int()?,
            estimate: reply.optional_int()?,
            issued: reply.int()?,
            promoted: reply.int()?,
            claimed: reply.int()?,
            expired: reply.int()?,
            left: reply.int()?,
            consumed: reply.int()?,
            holds: reply.int()?,
            released: reply.int()?,
            lapsed: reply.int()?,
            polls: reply.int()?,
        })
    }
}
