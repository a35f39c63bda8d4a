//! The recovery's steps in Redis, as Rust types: `lua/payments/{rebuild,seal}.lua`.
//! What comes between, marking the seats, is a script of the seats slice.

use std::time::Duration;

use uuid::Uuid;

use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};

pub(super) static REBUILD: LuaScript =
    LuaScript::new("payments/rebuild", include_str!("../../lua/payments/rebuild.lua"));
pub(super) static SEAL: LuaScript =
    LuaScript::new("payments/seal", include_str!("../../lua/payments/seal.lua"));

/// One rebuild of a concert's sold set.
#[derive(Debug, Clone, Copy)]
pub struct Rebuild<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// Names the rebuild.
    pub id: Uuid,
    /// How long it may go without a sign of life.
    pub lock: Duration,
}

/// Asks to be the one that rebuilds.
pub struct TakeRebuild<'a>(pub Rebuild<'a>);

/// What [`TakeRebuild`] got.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// This rebuild is under way now.
    Locked,
    /// Another one is.
    Busy,
    /// There is nothing to rebuild.
    Present,
}

impl ScriptCall for TakeRebuild<'_> {
    type Outcome = Taken;

    fn script() -> &'static LuaScript {
        &REBUILD
    }

    fn write(&self, args: &mut Args) {
        let Rebuild { concert, id, lock } = self.0;
        args.key(&concert.keys.rebuild).key(&concert.keys.epoch).text(id.to_string()).millis(lock);
    }

    fn decode(tag: &str, _: Reply) -> Result<Taken, ReplyFault> {
        match tag {
            "locked" => Ok(Taken::Locked),
            "busy" => Ok(Taken::Busy),
            "present" => Ok(Taken::Present),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Ends a rebuild: writes the settings back and sets the epoch.
///
/// Any other server calls it soon after with the epoch that was set: then it only writes back the
/// settings that this server remembers.
pub struct SealRebuild<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// Names the rebuild; None from another server.
    pub id: Option<Uuid>,
    /// The new epoch, random, or the one that is set.
    pub epoch: &'a str,
    /// How long other servers may write settings back.
    pub late: Duration,
    /// The settings as they were last seen; those that exist are left alone.
    pub settings: &'a [(String, String)],
}

impl ScriptCall for SealRebuild<'_> {
    /// Whether the epoch is set; not if the rebuild was lost.
    type Outcome = bool;

    fn script() -> &'static LuaScript {
        &SEAL
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.rebuild)
            .key(&keys.epoch)
            .key(&keys.settings)
            .text(self.id.map(|id| id.to_string()).unwrap_or_default())
            .text(self.epoch)
            .millis(self.late);
        for (field, value) in self.settings {
            args.text(field.as_str()).text(value.as_str());
        }
    }

    fn decode(tag: &str, _: Reply) -> Result<bool, ReplyFault> {
        match tag {
            "sealed" => Ok(true),
            "lost" => Ok(false),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}
