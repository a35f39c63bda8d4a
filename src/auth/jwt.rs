//! JWTs: which keys there are, and whose a token is.
//!
//! A token is judged by the keys of its own algorithm only, and a key has one algorithm: the public
//! text of an RSA key is never tried as the secret of an HMAC, and `none` is no algorithm at all.

use std::collections::HashSet;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::words::UserId;

/// Checks JWTs: signature, `exp`, `nbf`, and `aud` and `iss` where they are configured.
///
/// `exp` and `nbf` are compared with this server's clock, give or take a minute.
pub struct JwtVerifier {
    keys: Vec<JwtKey>,
}

struct JwtKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
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
        let mut add = |id, algorithm, key| {
            let validation = validation(algorithm, audience, issuer);
            keys.push(JwtKey { id, algorithm, key, validation });
        };
        if let Some(secret) = secret {
            add(None, Algorithm::HS256, DecodingKey::from_secret(secret.as_bytes()));
        }
        if let Some(text) = jwks {
            let set: JwkSet = serde_json::from_str(text)
                .map_err(|error| format!("is not a JWKS (line {})", error.line()))?;
            for jwk in set.keys.iter().filter(|jwk| !is_for_encryption(jwk)) {
                let id = jwk.common.key_id.clone();
                let algorithm = algorithm_of(jwk).map_err(|fault| format!("key {id:?} {fault}"))?;
                let key =
                    DecodingKey::from_jwk(jwk).map_err(|_| format!("key {id:?} cannot be read"))?;
                add(id, algorithm, key);
            }
        }
        if keys.is_empty() {
            return Err("holds no key".to_owned());
        }
        Ok(Self { keys })
    }

    /// The user named by `token`, if it is valid now by this server's clock.
    pub(super) fn user(&self, token: &str) -> Option<UserId> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        // Extensions that must be understood: none is (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return None;
        }
        let may_be_its_key = |key: &&JwtKey| {
            key.algorithm == header.alg
                && (key.id.is_none() || header.kid.is_none() || key.id == header.kid)
        };
        self.keys.iter().filter(may_be_its_key).find_map(|candidate| {
            let JwtKey { key, validation, .. } = candidate;
            let claims = jsonwebtoken::decode::<Claims>(token, key, validation).ok()?.claims;
            let number: i128 = claims.sub.parse().ok()?;
            (number.to_string() == claims.sub).then(|| UserId::try_from(number).ok())?
        })
    }
}

fn validation(algorithm: Algorithm, audience: Option<&str>, issuer: Option<&str>) -> Validation {
    let only = |name: &str| HashSet::from([name.to_owned()]);
    let configured = [audience.map(|_| "aud"), issuer.map(|_| "iss")];
    let required = ["exp", "sub"].into_iter().chain(configured.into_iter().flatten());
    Validation {
        algorithms: vec![algorithm],
        required_spec_claims: required.map(str::to_owned).collect(),
        validate_nbf: true,
        validate_aud: audience.is_some(),
        aud: audience.map(only),
        iss: issuer.map(only),
        ..Validation::default()
    }
}

/// Identity providers publish these in the same document.
fn is_for_encryption(jwk: &Jwk) -> bool {
    jwk.common.public_key_use == Some(PublicKeyUse::Encryption)
}

/// The one algorithm of a key: the one that it names, or the usual one of its kind.
fn algorithm_of(jwk: &Jwk) -> Result<Algorithm, &'static str> {
    let named = jwk.common.key_algorithm.map(|named| named.to_string().parse::<Algorithm>().ok());
    let (usual, possible): (_, &[Algorithm]) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (
            Algorithm::RS256,
            &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
        ),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, &[Algorithm::ES256])
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => {
            (Algorithm::ES384, &[Algorithm::ES384])
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, &[Algorithm::EdDSA])
        }
        AlgorithmParameters::OctetKey(_) => {
            return Err("is a secret, not a public key: give it as ONSALE_JWT_SECRET");
        }
        _ => return Err("is of a kind that is not supported (RSA, P-256, P-384, Ed25519 are)"),
    };
    match named {
        None => Ok(usual),
        Some(Some(named)) if possible.contains(&named) => Ok(named),
        Some(_) => Err("names an algorithm (alg) that is not for signatures of its kind"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    fn algorithms(key: &Value) -> Result<Vec<Algorithm>, String> {
        let document = json!({"keys": [key]}).to_string();
        let verifier = JwtVerifier::new(None, Some(&document), None, None)?;
        Ok(verifier.keys.iter().map(|key| key.algorithm).collect())
    }

    #[rstest]
    #[case(json!({"kty": "OKP", "crv": "Ed25519", "x": X}), Algorithm::EdDSA)]
    #[case(json!({"kty": "OKP", "crv": "Ed25519", "x": X, "alg": "EdDSA", "use": "sig"}), Algorithm::EdDSA)]
    #[case(json!({"kty": "RSA", "n": N, "e": "AQAB"}), Algorithm::RS256)]
    #[case(json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "PS512"}), Algorithm::PS512)]
    fn a_key_has_one_algorithm(#[case] key: Value, #[case] expected: Algorithm) {
        assert_eq!(algorithms(&key), Ok(vec![expected]));
    }

    #[rstest]
    // A public key whose text would be the secret.
    #[case(json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "HS256"}), "alg")]
    #[case(json!({"kty": "OKP", "crv": "Ed25519", "x": X, "alg": "RS256"}), "alg")]
    #[case(json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "RSA-OAEP"}), "alg")]
    #[case(json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), "ONSALE_JWT_SECRET")]
    #[case(json!({"kty": "RSA", "n": N, "e": "AQAB", "use": "enc"}), "no key")]
    #[case(json!({"kty": "EC", "crv": "P-521", "x": X, "y": X}), "not supported")]
    #[case(json!({"kty": "RSA", "n": "!", "e": "AQAB"}), "cannot be read")]
    fn a_key_that_would_not_be_safe_or_useful_is_refused_at_start(
        #[case] key: Value,
        #[case] why: &str,
    ) {
        let fault = algorithms(&key).unwrap_err();
        assert!(fault.contains(why), "{fault}");
        assert!(!fault.contains("c2VjcmV0"), "{fault}");
    }

    #[test]
    fn a_document_that_is_no_jwks_is_refused_without_showing_it() {
        for document in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":"c2VjcmV0"}"#, "c2VjcmV0"] {
            let fault = JwtVerifier::new(None, Some(document), None, None).err().unwrap();
            assert!(!fault.contains("c2VjcmV0"), "{fault}");
        }
        assert!(JwtVerifier::new(None, None, None, None).is_err());
    }
}
