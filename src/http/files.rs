//! Files that browsers get, with what keeps a browser from doing harm with them.
//!
//! They are in the binary: no path of a request ever reaches a file system. A browser keeps them and
//! asks each time whether they are still the same (`no-cache`), so that a new version of the server
//! is a new page at once, and a page never mixes two versions for long; the answer is then a 304
//! without a body.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use sha2::{Digest, Sha256};

const CROSS_ORIGIN_OPENER_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-opener-policy");

/// What a page may do (`Content-Security-Policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Load scripts, styles, images and data from this server; nothing else. No inline script or
    /// style, no frame around it, no form sent by the browser itself, and no text is ever taken for
    /// HTML (Trusted Types).
    Strict,
    /// The same for a page that builds HTML from text, and has images inside of its style sheet.
    Docs,
}

impl Policy {
    const fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Strict => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                 connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
                 form-action 'none'; frame-ancestors 'none'; \
                 require-trusted-types-for 'script'; trusted-types 'none'"
            }
            Self::Docs => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
        })
    }
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// Where it is served.
    pub path: &'static str,
    /// Its name in the folder `web/`.
    pub name: &'static str,
    content: &'static [u8],
    policy: Policy,
    etag: OnceLock<HeaderValue>,
}

impl File {
    /// The file `name` of `web/`, served at `path`.
    #[must_use]
    pub const fn new(
        path: &'static str,
        name: &'static str,
        content: &'static [u8],
        policy: Policy,
    ) -> Self {
        Self { path, name, content, policy, etag: OnceLock::new() }
    }

    /// Answers a GET: 200, or 304 to whoever has this very content already.
    #[must_use]
    pub fn answer(&self, request: &HeaderMap) -> Response {
        let etag = self.etag();
        let known = request.get_all(IF_NONE_MATCH).iter().any(|field| names(field, etag));
        let about = [(ETAG, etag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        if known {
            return (StatusCode::NOT_MODIFIED, about, Body::empty()).into_response();
        }
        let surroundings = [
            (CONTENT_TYPE, HeaderValue::from_static(media_type(self.name))),
            (CONTENT_SECURITY_POLICY, self.policy.header_value()),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
        ];
        (about, surroundings, Bytes::from_static(self.content)).into_response()
    }

    /// A digest of the content, computed once.
    fn etag(&self) -> &HeaderValue {
        self.etag.get_or_init(|| {
            use std::fmt::Write as _;
            let mut text = String::with_capacity(34);
            text.push('"');
            for byte in &Sha256::digest(self.content)[..16] {
                // A String takes everything.
                let _ = write!(text, "{byte:02x}");
            }
            text.push('"');
            HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
        })
    }
}

/// Whether an `If-None-Match` names this tag, or any.
fn names(field: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(field), Ok(etag)) = (field.to_str(), etag.to_str()) else {
        return false;
    };
    // A proxy that compresses makes a strong tag weak.
    let mut tags = field.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// By the name's end. What has none of these is never run nor shown.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PAGE: File = File::new("/", "index.html", b"<!doctype html>", Policy::Strict);

    fn asked(if_none_match: &[&'static str]) -> Response {
        let mut headers = HeaderMap::new();
        for field in if_none_match {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(field));
        }
        PAGE.answer(&headers)
    }

    #[test]
    fn a_file_is_sent_once_and_then_only_confirmed() {
        let first = asked(&[]);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!(etag, "\"fe26c59e91ac8de694b2531dc3bdc1b7\"", "a digest of the content");
        let known = "W/\"x\", W/\"fe26c59e91ac8de694b2531dc3bdc1b7\"";
        for known in [&[known][..], &["\"x\"", known], &["*"]] {
            let again = asked(known);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known:?}");
            assert_eq!(again.headers()[ETAG], etag);
            assert!(!again.headers().contains_key(CONTENT_TYPE));
        }
        for other in ["\"x\"", "", "fe26c59e91ac8de694b2531dc3bdc1b7"] {
            assert_eq!(asked(&[other]).status(), StatusCode::OK, "{other}");
        }
    }

    #[test]
    fn what_is_served_is_named_as_what_it_is() {
        assert_eq!(media_type("page.css"), "text/css; charset=utf-8");
        assert_eq!(media_type("i18n/ko.js"), "text/javascript; charset=utf-8");
        for unknown in ["LICENSE", "page.css.map", "", "."] {
            assert_eq!(media_type(unknown), "application/octet-stream", "{unknown}");
        }
    }
}
