//! Who may use the operators' routes: whoever sends `ONSALE_ADMIN_TOKEN` as a bearer token.
//!
//! Without a configured token nobody may. What is kept of it is a digest, and digests are compared
//! in constant time: neither the time of an answer nor a look into this server's memory tells
//! anything about it.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::app::AppState;
use crate::http::{Code, Problem, credentials};

/// The check of the operators' token.
pub struct Operators {
    digest: Option<[u8; 32]>,
}

impl Operators {
    /// Whoever knows `token`; nobody if there is none.
    #[must_use]
    pub fn new(token: Option<&SecretString>) -> Self {
        Self { digest: token.map(|token| digest(token.expose_secret())) }
    }

    /// Nobody learns whether there is a token at all: without one, every token is a wrong one.
    fn check(&self, headers: &HeaderMap) -> Result<Operator, Problem> {
        let refused = |why: &'static str| Problem::new(Code::Unauthenticated).detail(why);
        let Some(given) = credentials::access_token(headers)? else {
            return Err(refused("the operators' token is expected as Authorization: Bearer"));
        };
        let given = digest(given.expose());
        match self.digest {
            Some(own) if own.ct_eq(&given).into() => Ok(Operator(())),
            _ => Err(refused("this is not the operators' token of this server")),
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Proof that an operator asks. A route that takes it is closed to everybody else.
pub struct Operator(());

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        app.operators.check(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::AUTHORIZATION;

    use super::*;

    fn checked(operators: &Operators, fields: &[&str]) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_str(field).unwrap());
        }
        operators.check(&headers).map(|_| ()).map_err(|problem| problem.code())
    }

    #[test]
    fn only_the_token_itself_opens_the_operators_routes() {
        let operators = Operators::new(Some(&SecretString::from("0123456789abcdef")));
        assert_eq!(checked(&operators, &["Bearer 0123456789abcdef"]), Ok(()));
        for wrong in [
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer 0123456789ABCDEF",
            "Bearer ",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert_eq!(checked(&operators, &[wrong]), Err(Code::Unauthenticated), "{wrong}");
        }
        assert_eq!(checked(&operators, &[]), Err(Code::Unauthenticated));
        let twice = ["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"];
        assert_eq!(checked(&operators, &twice), Err(Code::BadRequest));
    }

    #[test]
    fn without_a_configured_token_nobody_is_an_operator() {
        let nobody = Operators::new(None);
        for field in ["Bearer ", "Bearer 0123456789abcdef", ""] {
            assert_eq!(checked(&nobody, &[field]), Err(Code::Unauthenticated), "{field:?}");
        }
    }
}
