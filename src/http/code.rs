//! Every error code of the API, with its status and title: one table, so that a code cannot
//! exist without them.

use axum::http::StatusCode;

/// Declares [`Code`] from rows of `Variant = status, "code", "title"`.
macro_rules! codes {
    ($($variant:ident = $status:ident, $code:literal, $title:literal;)+) => {
        /// What went wrong, as clients see it in `code` and `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code as clients read it: `seat-taken`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The status that every answer with this code has.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// A few words for people, the same for every answer with this code.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// RFC 9457's `type`: a relative reference, `/problems/<code>`.
            #[must_use]
            pub const fn type_uri(self) -> &'static str {
                match self { $(Self::$variant => concat!("/problems/", $code),)+ }
            }
        }
    };
}

codes! {
    BadRequest = BAD_REQUEST, "bad-request", "The request is not understood";
    AmbiguousInput = BAD_REQUEST, "ambiguous-input", "The same input is given twice and differs";

    TokenMissing = UNAUTHORIZED, "token-missing", "A queue token is needed";
    TokenInvalid = UNAUTHORIZED, "token-invalid", "This is not a queue token of this sale";
    TokenExpired = UNAUTHORIZED, "token-expired", "The queue token is no longer live";
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "A valid access token is needed";

    InsufficientBalance = PAYMENT_REQUIRED, "insufficient-balance", "The balance is too low";

    StillWaiting = FORBIDDEN, "still-waiting", "It is not this token's turn yet";
    NotYours = FORBIDDEN, "not-yours", "This belongs to somebody else";
    WrongConcert = FORBIDDEN, "wrong-concert", "The queue token is for another concert";

    NotFound = NOT_FOUND, "not-found", "There is nothing here";
    UnknownConcert = NOT_FOUND, "unknown-concert", "There is no such concert";
    UnknownDate = NOT_FOUND, "unknown-date", "The concert is not on sale for this date";
    UnknownSeat = NOT_FOUND, "unknown-seat", "The concert has no such seat";
    UnknownReservation = NOT_FOUND, "unknown-reservation", "There is no such reservation";

    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "This path does not take this method";
    RequestTimeout = REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive";

    SeatTaken = CONFLICT, "seat-taken", "Somebody else holds the seat";
    SeatSold = CONFLICT, "seat-sold", "The seat is sold";
    HoldLimit = CONFLICT, "hold-limit", "This user holds as many seats as allowed";
    SessionEnding = CONFLICT, "session-ending", "The session ends before the hold would";
    NothingToPay = CONFLICT, "nothing-to-pay", "There is no hold to pay for";
    HoldExpired = CONFLICT, "hold-expired", "The hold has ended";
    PaymentInProgress = CONFLICT, "payment-in-progress", "A payment of this token is under way";
    UserHasToken = CONFLICT, "user-has-token", "This user is already in line with another token";
    SoldOut = CONFLICT, "sold-out", "Everything is sold";
    Closed = CONFLICT, "closed", "The sale is over";
    BeaconNotAwaited = CONFLICT, "beacon-not-awaited", "No draw waits for a beacon's value";

    PayloadTooLarge = PAYLOAD_TOO_LARGE, "payload-too-large", "The body is too large";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON";
    OutOfRange = UNPROCESSABLE_ENTITY, "out-of-range", "A number is outside of its range";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The idempotency key was used for another request";
    TooManyRequests = TOO_MANY_REQUESTS, "too-many-requests", "Too many requests";
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The header fields are too large";

    Internal = INTERNAL_SERVER_ERROR, "internal", "Something broke here";
    RedisUnavailable = SERVICE_UNAVAILABLE, "redis-unavailable", "Redis cannot be reached; nothing happened";
    DatabaseUnavailable = SERVICE_UNAVAILABLE, "database-unavailable", "PostgreSQL cannot be reached; nothing happened";
    NotReady = SERVICE_UNAVAILABLE, "not-ready", "Not ready yet; nothing happened";
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "Too busy right now; nothing happened";
    OutcomeUnknown = SERVICE_UNAVAILABLE, "outcome-unknown", "It may have happened; repeat the request";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_name_and_an_error_status() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len(), "two codes share a name");
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error());
            assert_eq!(code.type_uri(), format!("/problems/{}", code.as_str()));
            assert!(!code.title().ends_with('.') && !code.title().is_empty());
        }
    }

    /// Clients act on these words and numbers: a change of one breaks them.
    #[test]
    fn every_status_has_exactly_the_codes_that_clients_were_promised() {
        let promised: &[(u16, &[&str])] = &[
            (400, &["bad-request", "ambiguous-input"]),
            (401, &["token-missing", "token-invalid", "token-expired", "unauthenticated"]),
            (402, &["insufficient-balance"]),
            (403, &["still-waiting", "not-yours", "wrong-concert"]),
            (
                404,
                &[
                    "not-found",
                    "unknown-concert",
                    "unknown-date",
                    "unknown-seat",
                    "unknown-reservation",
                ],
            ),
            (405, &["method-not-allowed"]),
            (408, &["request-timeout"]),
            (
                409,
                &[
                    "seat-taken",
                    "seat-sold",
                    "hold-limit",
                    "session-ending",
                    "nothing-to-pay",
                    "hold-expired",
                    "payment-in-progress",
                    "user-has-token",
                    "sold-out",
                    "closed",
                    "beacon-not-awaited",
                ],
            ),
            (413, &["payload-too-large"]),
            (415, &["unsupported-media-type"]),
            (422, &["out-of-range", "idempotency-key-reused"]),
            (429, &["too-many-requests"]),
            (431, &["headers-too-large"]),
            (500, &["internal"]),
            (
                503,
                &[
                    "redis-unavailable",
                    "database-unavailable",
                    "not-ready",
                    "overloaded",
                    "outcome-unknown",
                ],
            ),
        ];
        let promised: HashSet<(u16, &str)> = promised
            .iter()
            .flat_map(|(status, codes)| codes.iter().map(|code| (*status, *code)))
            .collect();
        let made: HashSet<(u16, &str)> =
            Code::ALL.iter().map(|code| (code.status().as_u16(), code.as_str())).collect();
        assert_eq!(made, promised);
    }
}
