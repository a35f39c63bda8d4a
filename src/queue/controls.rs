//! What operators learn of one person in a line.

use std::sync::Arc;
use std::time::Duration;

use super::service::Found;
use super::{Queue, QueueError, Standing};
use crate::concerts::Concert;
use crate::words::{Place, UserId};

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
