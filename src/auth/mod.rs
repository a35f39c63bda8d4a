//! Who asks: the queue token and the user of a request.
//!
//! In `trust` mode the `userId` of a request is believed (a gateway has checked it); in `jwt` mode
//! the user is the `sub` of a signed JWT and any other `userId` is refused. [`Credentials`] only
//! collects what the headers say: a fault in them is reported when a handler asks, so that a 401
//! comes after the 400 and 422 of the body.

mod jwt;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

pub use self::jwt::JwtVerifier;
use crate::app::AppState;
use crate::http::credentials::{self, BearerMeans};
use crate::http::{Code, Problem};
use crate::words::UserId;

/// How users are known.
pub enum Auth {
    /// The `userId` of a request is believed.
    Trust,
    /// The user is the `sub` of a JWT.
    Jwt(Arc<JwtVerifier>),
}

impl Auth {
    /// As `ONSALE_AUTH` names it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Jwt(_) => "jwt",
        }
    }

    fn bearer_means(&self) -> BearerMeans {
        match self {
            Self::Trust => BearerMeans::QueueToken,
            Self::Jwt(_) => BearerMeans::User,
        }
    }

    fn access(&self, headers: &HeaderMap) -> Access {
        let Self::Jwt(verifier) = self else {
            return Access::Trusted;
        };
        let token = credentials::access_token(headers)
            .map(|token| token.map(|token| token.expose().to_owned()));
        Access::Jwt { verifier: Arc::clone(verifier), token }
    }
}

/// How the user of a request becomes known.
enum Access {
    Trusted,
    /// By this JWT. It is verified when a handler asks: a signature costs more than the whole rest
    /// of a poll, which does not ask.
    Jwt {
        verifier: Arc<JwtVerifier>,
        token: Result<Option<String>, Problem>,
    },
}

enum Caller {
    Trusted,
    User(UserId),
}

impl Access {
    fn caller(&self) -> Result<Caller, Problem> {
        let Self::Jwt { verifier, token } = self else {
            return Ok(Caller::Trusted);
        };
        let refusal = |detail: &'static str| Problem::new(Code::Unauthenticated).detail(detail);
        match token {
            Err(problem) => Err(problem.clone()),
            Ok(None) => Err(refusal("a JWT is expected as Authorization: Bearer")),
            Ok(Some(token)) => verifier
                .user(token)
                .map(Caller::User)
                .ok_or_else(|| refusal("the JWT is not valid here, or no longer")),
        }
    }
}

/// Who asks, as far as the headers say it.
pub struct Credentials {
    token: Result<Option<String>, Problem>,
    access: Access,
}

impl Credentials {
    fn read(auth: &Auth, headers: &HeaderMap) -> Self {
        let token = credentials::queue_token(headers, auth.bearer_means())
            .map(|token| token.map(|token| token.expose().to_owned()));
        Self { token, access: auth.access(headers) }
    }

    /// The queue token of the headers.
    ///
    /// # Errors
    ///
    /// 401 `token-missing`; 400 if it is given twice or in two ways that differ.
    pub fn token(&self) -> Result<&str, Problem> {
        self.token_or(None)
    }

    /// The queue token of the headers, or else of the request's own `token` field.
    ///
    /// # Errors
    ///
    /// As [`Self::token`], and 400 `ambiguous-input` if the two differ.
    pub fn token_or<'a>(&'a self, field: Option<&'a str>) -> Result<&'a str, Problem> {
        let header = self.token.as_ref().map_err(Clone::clone)?.as_deref();
        let secret = |text: Option<&'a str>| text.and_then(credentials::Secret::new);
        match credentials::one_token(secret(header), secret(field))? {
            Some(token) => Ok(token.expose()),
            None => Err(Problem::new(Code::TokenMissing)
                .detail("a queue token is expected in the header Queue-Token")),
        }
    }

    /// The user who acts, when the request names `given`.
    ///
    /// # Errors
    ///
    /// In `jwt` mode 401 `unauthenticated` without a valid JWT, and 403 `not-yours` if it names
    /// somebody else.
    pub fn user(&self, given: UserId) -> Result<UserId, Problem> {
        match self.access.caller()? {
            Caller::Trusted => Ok(given),
            Caller::User(user) if user == given => Ok(given),
            Caller::User(_) => {
                Err(Problem::new(Code::NotYours)
                    .detail("userId is not the user that the JWT names"))
            }
        }
    }

    /// The user who acts, when the request may name one: in `jwt` mode always the JWT's.
    ///
    /// # Errors
    ///
    /// As [`Self::user`].
    pub fn optional_user(&self, given: Option<UserId>) -> Result<Option<UserId>, Problem> {
        match given {
            Some(given) => self.user(given).map(Some),
            None => Ok(match self.access.caller()? {
                Caller::Trusted => None,
                Caller::User(user) => Some(user),
            }),
        }
    }
}

impl FromRequestParts<AppState> for Credentials {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &AppState,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::read(&app.auth, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::AUTHORIZATION;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::{Value, json};

    const SECRET: &str = "a secret of the tests";

    fn jwt(claims: &Value, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    fn now() -> i64 {
        chrono::Utc::now().timestamp()
    }

    fn asked(claims: &Value, secret: &str) -> Result<Option<UserId>, Code> {
        let verifier = JwtVerifier::new(Some(SECRET), None, Some("onsale"), Some("shop")).unwrap();
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", jwt(claims, secret));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).unwrap());
        let credentials = Credentials::read(&Auth::Jwt(Arc::new(verifier)), &headers);
        credentials.optional_user(None).map_err(|problem| problem.code())
    }

    #[test]
    fn a_jwt_names_its_user_and_only_a_valid_one_counts() {
        let good = json!({"sub": "7", "exp": now() + 600, "aud": "onsale", "iss": "shop"});
        assert_eq!(asked(&good, SECRET).map(|user| user.map(UserId::get)), Ok(Some(7)));
        assert_eq!(asked(&good, "another secret"), Err(Code::Unauthenticated));
        for (claim, wrong) in [
            ("sub", json!("0")),
            ("sub", json!("07")),
            ("sub", json!("alice")),
            ("exp", json!(now() - 600)),
            ("nbf", json!(now() + 600)),
            ("aud", json!("elsewhere")),
            ("iss", json!("elsewhere")),
        ] {
            let mut claims = good.clone();
            claims[claim] = wrong;
            assert_eq!(asked(&claims, SECRET), Err(Code::Unauthenticated), "{claims}");
        }
        for missing in ["sub", "exp", "aud", "iss"] {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(missing);
            assert_eq!(asked(&claims, SECRET), Err(Code::Unauthenticated), "without {missing}");
        }
    }

    #[test]
    fn without_a_jwt_nobody_is_known_and_another_user_is_refused() {
        let verifier = JwtVerifier::new(Some(SECRET), None, None, None).unwrap();
        let auth = Auth::Jwt(Arc::new(verifier));
        let user = |number: i128| UserId::try_from(number).unwrap();
        let nobody = Credentials::read(&auth, &HeaderMap::new());
        assert_eq!(nobody.user(user(7)).unwrap_err().code(), Code::Unauthenticated);
        let mut headers = HeaderMap::new();
        let token = jwt(&json!({"sub": "7", "exp": now() + 600}), SECRET);
        let bearer = format!("Bearer {token}");
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).unwrap());
        let seven = Credentials::read(&auth, &headers);
        assert_eq!(seven.user(user(7)), Ok(user(7)));
        assert_eq!(seven.user(user(8)).unwrap_err().code(), Code::NotYours);
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0.";
        headers
            .insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {unsigned}")).unwrap());
        let forged = Credentials::read(&auth, &headers);
        assert_eq!(forged.user(user(7)).unwrap_err().code(), Code::Unauthenticated);
    }
}
