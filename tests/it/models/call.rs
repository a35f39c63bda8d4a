//! Calls of scripts with all their arguments, as plain data: kept, repeated, and given to the model
//! and to Redis alike.

use onsale::queue::draw::{Order, Seed, Segments};
use uuid::Uuid;

/// The dates of the concert; the first is past for ever.
pub const DAYS: [&str; 3] = ["2020-01-01", "2099-12-01", "2099-12-02"];
/// Seats of each date, from 1. Few, so that people meet.
pub const SEATS: u32 = 3;
/// Of every seat.
pub const PRICE: i64 = 100;
/// The most live holds of a user.
pub const SEATS_MAX: u32 = 3;

/// How long things live, in units.
pub const CLAIM_TTL: i64 = 4;
pub const ACTIVE_TTL: i64 = 12;
/// Odd, as is [`EXTENSION`]: no deadline is ever compared with another one of the same unit.
pub const SESSION_MAX: i64 = 17;
pub const HOLD_TTL: i64 = 8;
pub const HARD_EXTRA: i64 = 2;
pub const TOKEN_EXTRA: i64 = 4;
pub const LEASE: i64 = 4;
pub const EXTENSION: i64 = 5;
pub const LOCK: i64 = 4;
/// The deadline of a withheld seat.
pub const NEVER: i64 = i64::MAX;
/// The shortest time that passes at once.
pub const STEP: i64 = 2;

#[derive(Debug, Clone)]
pub enum Call {
    Settle { floor: u64, draw: Option<Drawn> },
    Board { after: u64, limit: usize },
    Sample { server: usize, polls: u64 },
    Configure { changes: Vec<(&'static str, u32)> },
    Enter(Arrivals),
    Draw { id: Uuid, round: bool, early: bool },
    Promote(Terms),
    Claim { place: u64, user: Option<u64> },
    Leave { place: u64, user: Option<u64>, asker: Option<u64>, version: Uuid },
    Clear { id: Uuid },
    Hold(HoldRequest),
    Release(ReleaseRequest),
    Sweep { day: usize, version: Uuid },
    List { day: usize },
    Dates,
    Holds { user: u64 },
    Restore { day: usize, lock: Option<Uuid>, version: Uuid, seats: Vec<u32> },
    Correct { day: usize, seen: Option<String>, version: Uuid, seats: Vec<u32> },
    Withhold(OrderRequest),
    GiveBack(OrderRequest),
    Rewithhold { day: usize, lock: Option<Uuid>, id: Uuid, seats: Vec<u32> },
    Begin { place: u64, user: u64, attempt: Uuid },
    Cancel { place: u64, attempt: Uuid },
    Finish { place: u64, user: u64, version: Uuid, seats: Vec<((usize, u32), Uuid)> },
    Rebuild { id: Uuid },
    Seal { id: Option<Uuid>, epoch: String, settings: Vec<(String, String)> },
}

#[derive(Debug, Clone)]
pub struct Arrivals {
    pub group: Uuid,
    pub floor: u64,
    pub epoch: String,
    pub who: Vec<Option<u64>>,
    /// The server knows of a lottery.
    pub has_draw: bool,
    /// The sale is not open yet.
    pub early: bool,
}

#[derive(Debug, Clone)]
pub struct Terms {
    pub run: String,
    pub epoch: String,
    pub capacity: u32,
    pub batch: u32,
    /// The sale is not open yet.
    pub early: bool,
    /// Id, segments and cursor of the draw, as the server knows it.
    pub drawn: Option<(Uuid, String, u64)>,
}

/// A lottery. Its seal is always the same, and so is the seed of its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub id: Uuid,
    pub round: bool,
    pub committed: i64,
    pub frozen: Option<Frozen>,
    pub cursor: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    pub segments: String,
    pub at: i64,
    pub value: Option<String>,
}

/// What draws with a beacon are bound to.
pub const ROUND: &str = "a round";
/// Of every draw.
pub const COMMITMENT: [u8; 32] = [1; 32];
pub const SEALED: [u8; 32] = [2; 32];

/// The order of these people.
pub fn order_of(segments: &str) -> Order {
    let segments = Segments::parse(segments).expect("segments");
    Order::draw(&Seed::new([7; 32]), segments)
}

#[derive(Debug, Clone)]
pub struct HoldRequest {
    pub run: String,
    pub epoch: String,
    pub place: u64,
    pub user: u64,
    pub day: usize,
    pub version: Uuid,
    pub seats: Vec<(u32, Uuid)>,
}

#[derive(Debug, Clone)]
pub struct ReleaseRequest {
    pub day: usize,
    pub why: Why,
    pub version: Uuid,
    pub seats: Vec<Named>,
}

/// Who wants a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Asked,
    GivenUp,
    ByOperator,
}

/// A hold as a release names it.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    pub seat: u32,
    pub reservation: Uuid,
    pub place: u64,
    pub user: u64,
}

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct OrderRequest {
    pub run: String,
    pub epoch: String,
    pub day: usize,
    pub id: Uuid,
    pub seats: Vec<u32>,
}

impl Call {
    /// The script's path under `lua/`.
    pub fn script(&self) -> &'static str {
        match self {
            Self::Settle { .. } => "queue/settle",
            Self::Board { .. } => "queue/board",
            Self::Sample { .. } => "ops/sample",
            Self::Configure { .. } => "queue/configure",
            Self::Enter(_) => "queue/enter",
            Self::Draw { .. } => "queue/draw",
            Self::Promote(_) => "queue/promote",
            Self::Claim { .. } => "queue/claim",
            Self::Leave { .. } => "queue/leave",
            Self::Clear { .. } => "queue/clear",
            Self::Hold(_) => "seats/hold",
            Self::Release(_) => "seats/release",
            Self::Sweep { .. } => "seats/sweep",
            Self::List { .. } => "seats/list",
            Self::Dates => "seats/dates",
            Self::Holds { .. } => "seats/holds",
            Self::Restore { .. } => "seats/restore",
            Self::Correct { .. } => "seats/correct",
            Self::Withhold(_) => "seats/withhold",
            Self::GiveBack(_) => "seats/give_back",
            Self::Rewithhold { .. } => "seats/rewithhold",
            Self::Begin { .. } => "payments/begin",
            Self::Cancel { .. } => "payments/cancel",
            Self::Finish { .. } => "payments/finish",
            Self::Rebuild { .. } => "payments/rebuild",
            Self::Seal { .. } => "payments/seal",
        }
    }
}
