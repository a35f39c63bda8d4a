//! What operators do with the people of a line: look one up, clear all of it.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::service::Found;
use super::{Queue, QueueError, Standing};
use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{Place, UserId};

pub(super) static CLEAR: LuaScript = LuaScript::new(
    "queue/clear",
    include_str!("../../lua/queue/clear.lua"), //
);

/// Takes everybody's place who waits; answers how many there were.
#[derive(Debug)]
pub struct ClearLine<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The call's own id; the same one answers the same for [`Self::ANSWER_KEPT_FOR`].
    pub id: Uuid,
    /// The operator's request, for the note.
    pub request: &'a str,
}

impl ClearLine<'_> {
    /// How long the answer is kept for a re-send.
    pub const ANSWER_KEPT_FOR: Duration = Duration::from_secs(5);
}

impl ScriptCall for ClearLine<'_> {
    type Outcome = u64;

    fn script() -> &'static LuaScript {
        &CLEAR
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.cleared(self.id)).key(&keys.waiting).key(&keys.stats).key(&keys.audit);
        args.text(self.request).millis(Self::ANSWER_KEPT_FOR);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<u64, ReplyFault> {
        match tag {
            "cleared" => reply.int(),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Whom operators look up.
#[derive(Debug, Clone)]
pub enum Whom {
    /// Whoever has this token.
    Token(String),
    /// A user in the line of a concert.
    User(Arc<Concert>, UserId),
}

/// What the line knows of somebody.
#[derive(Debug, Clone)]
pub struct Person {
    /// Whose line.
    pub concert: Arc<Concert>,
    /// The place; none of a user who has none.
    pub place: Option<Place>,
    /// Whose the place is, as far as it is known.
    pub user: Option<UserId>,
    /// How it stands; none if it is no longer live.
    pub standing: Option<Standing>,
    /// How long an active token lives.
    pub life: Option<Duration>,
    /// Whether an active token was used at least once.
    pub is_claimed: bool,
}

impl Queue {
    /// Takes the place of everybody who waits for `concert`, and notes it with `request`; how many
    /// there were. Whoever is active goes on; who comes next stands in a new line.
    ///
    /// # Errors
    ///
    /// Redis does not answer.
    pub async fn clear(&self, concert: &Concert, request: &str) -> Result<u64, QueueError> {
        let call = ClearLine { concert, id: Uuid::new_v4(), request };
        self.0.redis.run(&call).await.map_err(QueueError::write)
    }

    /// What the line knows of somebody. Reads only, so looking changes nothing.
    ///
    /// # Errors
    ///
    /// A token that is not ours, a concert that is not sold here, or Redis does not answer.
    pub async fn person(&self, whom: Whom) -> Result<Person, QueueError> {
        let (concert, place) = match &whom {
            Whom::Token(token) => {
                let (_, concert, place) = self.open(token)?;
                (concert, Some(place))
            }
            Whom::User(concert, user) => (concert.clone(), self.place_of(concert, *user).await?),
        };
        let user = match whom {
            Whom::User(_, user) => Some(user),
            Whom::Token(_) => None,
        };
        let nobody = Person {
            concert: concert.clone(),
            place,
            user,
            standing: None,
            life: None,
            is_claimed: false,
        };
        let Some(place) = place else {
            return Ok(nobody);
        };
        let line = self.line(concert.id);
        Ok(match self.find(&line, &concert, place).await? {
            Found::Gone => nobody,
            Found::Waiting { position, board } => {
                let standing = Some(self.waiting(concert.id, position, &board));
                let member = self.0.redis.member_at(&concert.keys.waiting, place.get()).await;
                let member = member.map_err(QueueError::read)?.unwrap_or_default();
                let owner = member.split_once(':').and_then(|(_, user)| user_of(user));
                Person { standing, user: user.or(owner), ..nobody }
            }
            Found::Active { value, expires_in_ms } => Person {
                standing: Some(self.active(concert.id, value.owner, expires_in_ms)),
                user: user.or(value.owner),
                life: Some(Duration::from_millis(expires_in_ms)),
                is_claimed: value.claimed,
                ..nobody
            },
        })
    }

    /// The place of `user`, live or not.
    pub(super) async fn place_of(
        &self,
        concert: &Concert,
        user: UserId,
    ) -> Result<Option<Place>, QueueError> {
        let place = self.0.redis.field(&concert.keys.users, &user.to_string()).await;
        let place = place.map_err(QueueError::read)?.and_then(|place| place.parse::<i128>().ok());
        Ok(place.and_then(|place| Place::try_from(place).ok()))
    }
}

fn user_of(text: &str) -> Option<UserId> {
    UserId::try_from(text.parse::<i128>().ok()?).ok()
}
