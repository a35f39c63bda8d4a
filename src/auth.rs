//! Who asks: the queue token and the user of a request.
//!
//! In `trust` mode the `userId` of a request is believed (a gateway has checked it); in `jwt` mode
//! the user is the `sub` of a signed JWT and any other `userId` is refused. [`Credentials`] only
//! collects what the headers say: a fault in them is reported when a handler asks, so that a 401
//! comes after the 400 and 422 of the body.

use std::collections::HashSet;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::app::AppState;
use crate::http::credentials::{self, BearerMeans};
use crate::http::{Code, Problem};
use crate::words::UserId;

/// How users are known.
pub enum Auth {
    /// The `userId` of a request is believed.
    Trust,
    /// The user is the `sub` of a JWT.
    Jwt(Box<JwtVerifier>),
}

/// Checks JWTs: signature, `exp`, `nbf`, and `aud` and `iss` where they are configured.
pub struct JwtVerifier {
    keys: Vec<JwtKey>,
    validation: Validation,
}

struct JwtKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl JwtVerifier {
    /// A verifier of HS256 with `secret` and of the keys of a JWKS document, whichever is given.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the document; it holds no secret.
    pub fn new(
        secret: Option<&str>,
        jwks: Option<&str>,
        audience: Option<&str>,
        issuer: Option<&str>,
    ) -> Result<Self, String> {
        let mut keys = Vec::new();
        if let Some(secret) = secret {
            let key = DecodingKey::from_secret(secret.as_bytes());
            keys.push(JwtKey { id: None, algorithm: Algorithm::HS256, key });
        }
        if let Some(text) = jwks {
            let set: JwkSet =
                serde_json::from_str(text).map_err(|error| format!("is not a JWKS: {error}"))?;
            for jwk in &set.keys {
                let id = jwk.common.key_id.clone();
                let algorithm = jwk
                    .common
                    .key_algorithm
                    .and_then(|algorithm| algorithm.to_string().parse().ok())
                    .ok_or_else(|| format!("key {id:?} names no signature algorithm (alg)"))?;
                let key = DecodingKey::from_jwk(jwk)
                    .map_err(|error| format!("key {id:?} cannot be used: {error}"))?;
                keys.push(JwtKey { id, algorithm, key });
            }
        }
        if keys.is_empty() {
            return Err("holds no key".to_owned());
        }
        let only = |name: &str| HashSet::from([name.to_owned()]);
        let mut validation = Validation {
            required_spec_claims: HashSet::from(["exp".to_owned(), "sub".to_owned()]),
            validate_nbf: true,
            validate_aud: audience.is_some(),
            aud: audience.map(only),
            iss: issuer.map(only),
            ..Validation::default()
        };
        for claim in [audience.map(|_| "aud"), issuer.map(|_| "iss")].into_iter().flatten() {
            validation.required_spec_claims.insert(claim.to_owned());
        }
        Ok(Self { keys, validation })
    }

    /// The user named by `token`, if it is valid now by this server's clock.
    fn user(&self, token: &str) -> Option<UserId> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let named =
            |key: &&JwtKey| key.id.is_none() || header.kid.is_none() || key.id == header.kid;
        let mut candidates =
            self.keys.iter().filter(|key| key.algorithm == header.alg).filter(named);
        candidates.find_map(|candidate| {
            let mut validation = self.validation.clone();
            // One key, one algorithm: a public key must never be tried as an HMAC secret.
            validation.algorithms = vec![candidate.algorithm];
            let claims =
                jsonwebtoken::decode::<Claims>(token, &candidate.key, &validation).ok()?.claims;
            let number: i128 = claims.sub.parse().ok()?;
            (number.to_string() == claims.sub).then(|| UserId::try_from(number).ok())?
        })
    }
}

impl Auth {
    fn bearer_means(&self) -> BearerMeans {
        match self {
            Self::Trust => BearerMeans::QueueToken,
            Self::Jwt(_) => BearerMeans::User,
        }
    }

    fn caller(&self, headers: &HeaderMap) -> Caller {
        let Self::Jwt(verifier) = self else {
            return Caller::Trusted;
        };
        let refusal = |detail: &'static str| Problem::new(Code::Unauthenticated).detail(detail);
        match credentials::access_token(headers) {
            Err(problem) => Caller::Unknown(problem),
            Ok(None) => Caller::Unknown(refusal("a JWT is expected as Authorization: Bearer")),
            Ok(Some(token)) => match verifier.user(token.expose()) {
                Some(user) => Caller::User(user),
                None => Caller::Unknown(refusal("the JWT is not valid here, or no longer")),
            },
        }
    }
}

enum Caller {
    Trusted,
    User(UserId),
    Unknown(Problem),
}

/// Who asks, as far as the headers say it.
pub struct Credentials {
    token: Result<Option<String>, Problem>,
    caller: Caller,
}

impl Credentials {
    fn read(auth: &Auth, headers: &HeaderMap) -> Self {
        let token = credentials::queue_token(headers, auth.bearer_means())
            .map(|token| token.map(|token| token.expose().to_owned()));
        Self { token, caller: auth.caller(headers) }
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
        match &self.caller {
            Caller::Trusted => Ok(given),
            Caller::User(user) if *user == given => Ok(given),
            Caller::User(_) => {
                Err(Problem::new(Code::NotYours)
                    .detail("userId is not the user that the JWT names"))
            }
            Caller::Unknown(problem) => Err(problem.clone()),
        }
    }

    /// The user who acts, when the request may name one: in `jwt` mode always the JWT's.
    ///
    /// # Errors
    ///
    /// As [`Self::user`].
    pub fn optional_user(&self, given: Option<UserId>) -> Result<Option<UserId>, Problem> {
        match (&self.caller, given) {
            (_, Some(given)) => self.user(given).map(Some),
            (Caller::Trusted, None) => Ok(None),
            (Caller::User(user), None) => Ok(Some(*user)),
            (Caller::Unknown(problem), None) => Err(problem.clone()),
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
    use jsonwebtoken::{EncodingKey, Header};
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
        let credentials = Credentials::read(&Auth::Jwt(Box::new(verifier)), &headers);
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
        let auth = Auth::Jwt(Box::new(verifier));
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

    #[test]
    fn a_jwks_document_is_checked_at_start() {
        assert!(JwtVerifier::new(None, Some("{}"), None, None).is_err());
        assert!(JwtVerifier::new(None, Some(r#"{"keys":[]}"#), None, None).is_err());
        let symmetric = r#"{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"c2VjcmV0"}]}"#;
        assert!(JwtVerifier::new(None, Some(symmetric), None, None).is_ok());
    }
}
