//! The step that brings a draw forward, as a Rust type: `lua/queue/draw.lua`.

use super::{Draw, Seal, hex};
use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};

pub(in crate::queue) static DRAW: LuaScript =
    LuaScript::new("queue/draw", include_str!("../../../lua/queue/draw.lua"));

/// Commits, freezes, or takes over the beacon's value: whatever is due.
#[derive(Debug)]
pub struct AdvanceDraw<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// What to commit to, if nothing is.
    pub seal: &'a Seal,
}

/// What came of [`AdvanceDraw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrawOutcome {
    /// The draw as it is now.
    Draw(Box<Draw>),
    /// There is none, and it is too late for one.
    None,
    /// Nothing changed: the line must be settled first, or the concert be rebuilt.
    Unsettled,
}

impl ScriptCall for AdvanceDraw<'_> {
    type Outcome = DrawOutcome;

    fn script() -> &'static LuaScript {
        &DRAW
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.draw).key(&keys.run).key(&keys.epoch).key(&keys.seq);
        args.key(&keys.waiting).key(&keys.skipped).key(&keys.settings);
        let Seal { terms, commitment, sealed } = self.seal;
        args.int(self.concert.opens_at_ms());
        args.text(terms.id.to_string()).text(hex(commitment)).text(hex(sealed));
        args.text(terms.round.as_deref().unwrap_or_default());
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<DrawOutcome, ReplyFault> {
        match tag {
            "none" => Ok(DrawOutcome::None),
            "unsettled" => Ok(DrawOutcome::Unsettled),
            "draw" => {
                let draw = draw(reply.list()?)?.ok_or(ReplyFault::Tag(tag.to_owned()))?;
                Ok(DrawOutcome::Draw(Box::new(draw)))
            }
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// A draw as a list of fields and values; none if the list is empty.
pub(in crate::queue) fn draw(mut fields: Reply) -> Result<Option<Draw>, ReplyFault> {
    if fields.remaining() == 0 {
        return Ok(None);
    }
    let mut pairs = Vec::with_capacity(fields.remaining() / 2);
    while fields.remaining() > 0 {
        pairs.push((fields.text()?, fields.text()?));
    }
    let fault = ReplyFault::Field { index: 0, expected: "a draw" };
    Draw::read(pairs).map(Some).ok_or(fault)
}
