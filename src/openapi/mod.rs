//! The description of the API, served at `/openapi.json`.
//!
//! One table, [`groups`], lists every operation. Fields, ranges, statuses and titles are not
//! written here again: they come from the inputs' field tables, the types of `words`, the answers'
//! own types and the table of codes. Tests hold it against the table of routes; a fuzzer that reads
//! it (`scripts/schemathesis.sh`) holds it against what a server really answers.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::path::PathsBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, HttpMethod, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItem,
    RefOr, Type,
};

mod examples;
mod operation;
mod operators;
mod schemas;
mod security;

use operation::Operation;
use schemas::{free_seats, problem};

use crate::http::answer::EncodedJson;
use crate::http::{Code, NoFields, QueryOrBody};
use crate::{concerts, ops, payments, queue, seats};

const ABOUT: &str = "A fair waiting line, seats that are never sold twice, and a wallet charged \
    exactly once. Arrive, poll until the token is active, reserve, pay. \
    Every error is RFC 9457 `application/problem+json`. Whatever a GET or DELETE takes may come by \
    query or by JSON body. `X-Request-Id` is taken over from the request if it is plain. What is \
    not HTTP/1.1 is answered 400 `bad-request`, and a head that is too large 431 `headers-too-large`.";

/// `GET /openapi.json`: this description.
pub async fn show_description(_: QueryOrBody<NoFields>) -> Response {
    static ENCODED: LazyLock<Bytes> =
        LazyLock::new(|| document().to_json().unwrap_or_default().into());
    EncodedJson(ENCODED.clone()).into_response()
}

/// Operations that belong together.
struct Group {
    name: &'static str,
    about: &'static str,
    operations: Vec<Operation>,
}

/// Every operation, in the order in which a buyer meets it, and then whoever runs the sale.
fn groups() -> [Group; 5] {
    let steering = [operators::steering(), operators::withholding(), operators::watching()];
    let all = operation().into_iter().chain(steering.into_iter().flatten());
    let (operators, server) = all.partition(|one: &Operation| one.path.starts_with("/admin/"));
    let group = |name, about, operations| Group { name, about, operations };
    [
        group(
            "Line",
            "What is on sale, a place in line, and where one stands.",
            catalogue().into_iter().chain(line()).collect(),
        ),
        group("Seats", "With an active token: what is free, and holding it.", seats()),
        group("Payments", "The wallet, and what it buys.", money()),
        group("Operators", "Seeing and steering every sale, with the operators' token.", operators),
        group("Server", "How this server is, and what it can.", server),
    ]
}

fn catalogue() -> Vec<Operation> {
    use concerts::routes::CatalogueView;
    vec![
        Operation::new(HttpMethod::Get, "/concerts", "list_catalogue", "What is on sale here")
            .query::<NoFields>()
            .answers::<CatalogueView>(200, "Every concert of the catalogue, by id."),
    ]
}

fn line() -> Vec<Operation> {
    use queue::routes::{JoinRequest, LeftView, StandingView, TokenRequest};
    vec![
        Operation::new(HttpMethod::Post, "/user/token", "join_line", "A place in the line")
            .optional_body::<JoinRequest>()
            .answers::<StandingView>(201, "A new token.")
            .answers::<StandingView>(200, "The token that this user has already.")
            .refuses(&[Code::Unauthenticated, Code::NotYours, Code::UnknownConcert])
            .refuses(&[Code::SoldOut, Code::Closed, Code::TooManyRequests])
            .refuses(&[Code::RedisUnavailable, Code::NotReady, Code::OutcomeUnknown]),
        Operation::new(HttpMethod::Get, "/user/token/status", "show_position", "Where one stands")
            .query::<TokenRequest>()
            .token(true)
            .answers::<StandingView>(200, "The position; 0 once the token is active.")
            .refuses(&[Code::TooManyRequests]),
        Operation::new(
            HttpMethod::Get,
            "/user/token/events",
            "stream_position",
            "Where one stands, told as it changes: server-sent events",
        )
        .query::<TokenRequest>()
        .token(true)
        .streams(
            "Events `position`, `estimate`, `message`, `sold-out`, `closed`, `promoted`, each with what a poll \
             is answered as its data: the first at once, then what changes, at most once a second. \
             `gone`: the token is no longer live. With `promoted` and `gone` the stream ends: close it. \
             A browser's EventSource gives the token as `?token=`.",
        )
        .refuses(&[Code::TooManyRequests]),
        Operation::new(HttpMethod::Delete, "/user/token", "leave_line", "Give up a place")
            .query::<TokenRequest>()
            .token(true)
            .answers::<LeftView>(200, "The place and its holds are given up.")
            .refuses(&[Code::PaymentInProgress, Code::OutcomeUnknown]),
        Operation::new(
            HttpMethod::Get,
            "/concert/{id}/fairness",
            "show_fairness",
            "The order of those who came before the opening, for anybody to check",
        )
        .query::<NoFields>()
        .concert_in_path()
        .answers::<queue::draw::Proof>(200, "What is public of the draw; without one, `fifo`.")
        .refuses(&[Code::UnknownConcert, Code::RedisUnavailable, Code::NotReady]),
    ]
}

fn seats() -> Vec<Operation> {
    use seats::routes::{DatesRequest, DatesView, ReleaseRequest, ReleasedView};
    use seats::routes::{ReserveRequest, ReservedView, SeatsRequest};
    vec![
        Operation::new(
            HttpMethod::Get,
            "/concert/available-dates",
            "list_dates",
            "The dates with a free seat",
        )
        .query::<DatesRequest>()
        .active_token()
        .answers::<DatesView>(200, "The dates, not past."),
        Operation::new(
            HttpMethod::Get,
            "/concert/available-seats",
            "list_seats",
            "The free seats of a date",
        )
        .query::<SeatsRequest>()
        .active_token()
        .answers_as(200, "The free seats, ascending.", free_seats())
        .refuses(&[Code::UnknownDate]),
        Operation::new(
            HttpMethod::Get,
            "/concert/{id}/seats/events",
            "stream_seats",
            "The free seats of a date, told as they change: server-sent events",
        )
        .concert_in_path()
        .query::<seats::events::SeatEventsRequest>()
        .active_token_or_query()
        .streams(
            "`seats` with all free seats as of `/concert/available-seats` at once, then `changed` with \
             `taken` and `freed`, at most once a second. `ended`: the date is over, or the token no \
             longer live; the stream ends: close it.",
        )
        .refuses(&[Code::UnknownDate, Code::TooManyRequests]),
        Operation::new(
            HttpMethod::Post,
            "/concert/reserve",
            "reserve_seats",
            "Hold one seat, or several, all or nothing",
        )
        .body_with_one_of::<ReserveRequest>(&["seatNumber", "seatNumbers"])
        .active_token()
        .answers::<ReservedView>(201, "A new hold.")
        .answers::<ReservedView>(200, "The hold that this token has already.")
        .refuses(&[Code::UnknownDate, Code::UnknownSeat, Code::SeatTaken, Code::SeatSold])
        .refuses(&[Code::HoldLimit, Code::SessionEnding, Code::PaymentInProgress])
        .refuses(&[Code::DatabaseUnavailable]),
        Operation::new(HttpMethod::Delete, "/concert/reserve", "release_seat", "Give a hold back")
            .query::<ReleaseRequest>()
            .active_token()
            .answers::<ReleasedView>(200, "The seat is free again.")
            .refuses(&[Code::UnknownReservation, Code::PaymentInProgress]),
    ]
}

fn money() -> Vec<Operation> {
    use payments::routes::{BalanceView, ChargeRequest, PaidView, UserRequest};
    use payments::routes::{ReservationsRequest, ReservationsView};
    vec![
        Operation::new(HttpMethod::Post, "/payment/charge", "charge_balance", "Add to a balance")
            .body::<ChargeRequest>()
            .active_token()
            .idempotent()
            .answers::<BalanceView>(200, "The new balance.")
            .refuses(&[Code::DatabaseUnavailable]),
        Operation::new(HttpMethod::Get, "/payment/balance", "show_balance", "What a user has")
            .query::<UserRequest>()
            .active_token()
            .answers::<BalanceView>(200, "The balance; 0 for a user that never charged.")
            .refuses(&[Code::DatabaseUnavailable]),
        Operation::new(HttpMethod::Post, "/payment", "pay_holds", "Pay for all that a token holds")
            .body::<UserRequest>()
            .active_token()
            .idempotent()
            .answers::<PaidView>(200, "Bought; the same answer however often it is repeated.")
            .refuses(&[Code::InsufficientBalance, Code::NothingToPay, Code::HoldExpired])
            .refuses(&[Code::SeatSold, Code::DatabaseUnavailable]),
        Operation::new(
            HttpMethod::Get,
            "/user/reservations",
            "list_reservations",
            "What a user holds and owns",
        )
        .query::<ReservationsRequest>()
        .active_token()
        .answers::<ReservationsView>(
            200,
            "Holds in the token's concert; owned seats of all, 500 payments at a time.",
        )
        .refuses(&[Code::DatabaseUnavailable]),
    ]
}

fn operation() -> Vec<Operation> {
    use ops::routes::{Health, Ready};
    let any = || RefOr::T(ObjectBuilder::new().schema_type(Type::Object).into());
    vec![
        Operation::new(HttpMethod::Get, "/healthz", "show_health", "Whether this process answers")
            .any_query()
            .answers::<Health>(200, "It does."),
        Operation::new(
            HttpMethod::Get,
            "/readyz",
            "show_readiness",
            "Whether this server can sell",
        )
        .any_query()
        .answers::<Ready>(200, "It can.")
        .refuses(&[Code::NotReady]),
        Operation::new(HttpMethod::Get, "/openapi.json", "show_description", "This description")
            .query::<NoFields>()
            .answers_as(200, "OpenAPI 3.1.", any())
            .refuses(&[Code::TooManyRequests]),
    ]
}

/// The whole description.
fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut components = security::schemes(ComponentsBuilder::new()).schema("Problem", problem());
    let mut tags = Vec::new();
    for Group { name: tag, about, operations } in groups() {
        tags.push(TagBuilder::new().name(tag).description(Some(about)).build());
        for operation in operations {
            for (name, schema) in &operation.schemas {
                components = components.schema(name, schema.clone());
            }
            let (path, method) = (operation.path, operation.method.clone());
            paths = paths.path(path, PathItem::new(method, operation.build(tag)));
        }
    }
    let info = InfoBuilder::new()
        .title("Onsale")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .tags(Some(tags))
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::app::App;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routes = App::routes();
        let served: BTreeSet<_> = routes.paths().iter().map(|path| path.template).collect();
        let operations = groups().into_iter().flat_map(|group| group.operations);
        let described: BTreeSet<_> = operations.map(|one| one.path).collect();
        assert_eq!(described, served);
    }

    /// Each operation lists each status with its codes, as a problem, and every code stands somewhere.
    #[test]
    fn every_code_is_told_by_some_operation_under_its_own_status() {
        let document: serde_json::Value =
            serde_json::from_str(&document().to_json().unwrap()).unwrap();
        let mut told = BTreeSet::new();
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.values().flat_map(|methods| methods.as_object().unwrap().values());
        for operation in operations {
            for (status, answer) in operation["responses"].as_object().unwrap() {
                assert!(answer["headers"]["X-Request-Id"].is_object(), "{status}: {answer}");
                if ["200", "201"].contains(&status.as_str()) {
                    let kinds = answer["content"].as_object().unwrap();
                    let known = ["application/json", "text/event-stream", "text/plain"];
                    assert!(kinds.keys().all(|kind| known.contains(&kind.as_str())), "{answer}");
                    continue;
                }
                let schema = &answer["content"]["application/problem+json"]["schema"];
                for code in schema["allOf"][1]["properties"]["code"]["enum"].as_array().unwrap() {
                    let code = Code::ALL.iter().find(|known| *code == known.as_str()).unwrap();
                    assert_eq!(status, code.status().as_str(), "{code:?}");
                    let waits = matches!(status.as_str(), "429" | "503");
                    assert!(!waits || answer["headers"]["Retry-After"].is_object(), "{code:?}");
                    told.insert(code.as_str());
                }
            }
        }
        // Made before a route is known.
        let nowhere = [Code::NotFound, Code::MethodNotAllowed, Code::HeadersTooLarge];
        let told_somewhere = Code::ALL.iter().filter(|code| !nowhere.contains(code));
        assert_eq!(told, told_somewhere.map(|code| code.as_str()).collect());
    }

    #[test]
    fn every_number_has_its_range_and_every_name_its_schema() {
        let document: serde_json::Value =
            serde_json::from_str(&document().to_json().unwrap()).unwrap();
        let known = &document["components"]["schemas"];
        let mut unseen = vec![&document];
        while let Some(value) = unseen.pop() {
            if let Some(name) = value["$ref"].as_str() {
                let name = name.trim_start_matches("#/components/schemas/");
                assert!(known.get(name).is_some(), "{name} is named and not described");
            }
            if value["in"] == "query" && value["schema"]["type"] == "integer" {
                assert!(value["schema"]["maximum"].is_number(), "{value}");
            }
            unseen.extend(value.as_object().into_iter().flat_map(serde_json::Map::values));
            unseen.extend(value.as_array().into_iter().flatten());
        }
    }
}
