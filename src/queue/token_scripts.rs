//! The Redis scripts about one token, as Rust types: its first use, and leaving.

use std::time::Duration;

use uuid::Uuid;

use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{Place, UserId};

pub(super) static CLAIM: LuaScript = LuaScript::new(
    "queue/claim",
    include_str!("../../lua/queue/claim.lua"), //
);
pub(super) static LEAVE: LuaScript = LuaScript::new(
    "queue/leave",
    include_str!("../../lua/queue/leave.lua"), //
);

/// Uses an active token for the first time, or binds it to its user.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The token's place.
    pub place: Place,
    /// Who uses it, if the request says so.
    pub user: Option<UserId>,
    /// How long a claimed token lives.
    pub active_ttl: Duration,
    /// The longest life of a token since its promotion.
    pub session_max: Duration,
}

/// What came of [`Claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// It is active and claimed.
    Active {
        /// Whose it is, once bound.
        owner: Option<UserId>,
        /// When it expires, Unix ms.
        expires_ms: u64,
        /// Redis' clock, Unix ms.
        now_ms: u64,
    },
    /// It is bound to another user.
    NotYours,
    /// The user has another live place in this line.
    UserHasToken,
    /// It is not active.
    Gone,
}

impl ScriptCall for Claim<'_> {
    type Outcome = ClaimOutcome;

    fn script() -> &'static LuaScript {
        &CLAIM
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.token(self.place)).key(&keys.active);
        args.key(&keys.waiting).key(&keys.users).key(&keys.stats);
        args.int(self.place.get());
        write_user(args, self.user);
        args.millis(self.active_ttl).millis(self.session_max);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<ClaimOutcome, ReplyFault> {
        match tag {
            "active" => Ok(ClaimOutcome::Active {
                owner: user(&mut reply)?,
                expires_ms: reply.int()?,
                now_ms: reply.int()?,
            }),
            "not_yours" => Ok(ClaimOutcome::NotYours),
            "user_has_token" => Ok(ClaimOutcome::UserHasToken),
            "gone" => Ok(ClaimOutcome::Gone),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Gives up a place, and with it the user's holds of that place.
#[derive(Debug)]
pub struct Leave<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The place to give up.
    pub place: Place,
    /// Whose the token is, as far as the caller knows.
    pub user: Option<UserId>,
    /// Who asks, if the request says so.
    pub asker: Option<UserId>,
    /// The new version of dates on which a seat became free.
    pub version: Uuid,
}

/// What came of [`Leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveOutcome {
    /// The place is given up.
    Left {
        /// Live holds given up with it.
        released: u64,
    },
    /// Nothing changed: it is bound to another user than the asker.
    NotYours,
    /// Nothing changed: the token is bound to somebody else than the caller knew.
    OtherUser,
    /// Nothing changed: a payment is under way.
    Paying,
    /// Nothing changed: it neither waits nor is active.
    Gone,
}

impl ScriptCall for Leave<'_> {
    type Outcome = LeaveOutcome;

    fn script() -> &'static LuaScript {
        &LEAVE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.waiting).key(&keys.dead).key(&keys.users);
        args.key(&keys.active).key(&keys.token(self.place));
        args.key(&keys.paying(self.place)).key(&keys.stats);
        // Without a user there are no holds, and the script does not look at this key.
        args.key(&self.user.map_or_else(|| keys.users.clone(), |user| keys.holds(user)));
        args.int(self.place.get());
        write_user(args, self.user);
        write_user(args, self.asker);
        args.text(self.version.simple().to_string());
        for date in &self.concert.dates {
            args.key(&keys.held(*date)).key(&keys.hold(*date));
            args.key(&keys.version(*date));
            args.text(date.to_string());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<LeaveOutcome, ReplyFault> {
        match tag {
            "left" => Ok(LeaveOutcome::Left { released: reply.int()? }),
            "not_yours" => Ok(LeaveOutcome::NotYours),
            "other_user" => Ok(LeaveOutcome::OtherUser),
            "paying" => Ok(LeaveOutcome::Paying),
            "gone" => Ok(LeaveOutcome::Gone),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// The value of `{c<id>}:token:<place>`: `<user or empty>:<claimed 0|1|2>:<promoted_ms>`; 2 is a
/// claimed token that has held a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenValue {
    /// Whose it is, once bound.
    pub owner: Option<UserId>,
    /// Whether it was used.
    pub claimed: bool,
    /// Whether it ever held a seat.
    pub has_held: bool,
}

impl TokenValue {
    /// Reads the value; `None` if somebody wrote something else there.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let owner = match parts.next()? {
            "" => None,
            user => Some(UserId::try_from(user.parse::<i128>().ok()?).ok()?),
        };
        let (claimed, has_held) = match parts.next()? {
            "0" => (false, false),
            "1" => (true, false),
            "2" => (true, true),
            _ => return None,
        };
        Some(Self { owner, claimed, has_held })
    }
}

fn write_user(args: &mut Args, user: Option<UserId>) {
    match user {
        Some(user) => args.int(user.get()),
        None => args.word(""),
    };
}

fn user(reply: &mut Reply) -> Result<Option<UserId>, ReplyFault> {
    let number = reply.optional_int::<i64>()?;
    let user = number.map(|number| UserId::try_from(i128::from(number)));
    user.transpose().map_err(|_| ReplyFault::Field { index: 1, expected: "a user id" })
}
