//! The operations for operators, who alone may ask.

use utoipa::openapi::HttpMethod;

use super::operation::Operation;
use crate::http::{Code, NoFields};
use crate::ops;

/// What operators change, and what they look at before and after.
pub(super) fn steering() -> Vec<Operation> {
    use ops::controls::ConfigureRequest;
    use ops::overview::ConcertOverview;
    use ops::routes::ConcertsView;
    let mut all = vec![
        Operation::new(
            HttpMethod::Get,
            "/admin/concerts",
            "list_concerts",
            "How every sale goes, for operators",
        )
        .query::<NoFields>()
        .operators_only()
        .answers::<ConcertsView>(200, "Every concert of the catalogue, by id.")
        .refuses(&[Code::RedisUnavailable, Code::NotReady]),
        Operation::new(
            HttpMethod::Patch,
            "/admin/concerts",
            "configure_concert",
            "Change live settings of a concert, on all servers; null returns to the configuration",
        )
        .operators_only()
        .body::<ConfigureRequest>()
        .answers::<ConcertOverview>(200, "The concert as it is now.")
        .refuses(&[Code::UnknownConcert, Code::BeaconNotAwaited])
        .refuses(&[Code::RedisUnavailable, Code::NotReady, Code::OutcomeUnknown]),
    ];
    all.extend(about_people());
    all
}

/// What is about people, their holds, and what was done.
fn about_people() -> Vec<Operation> {
    use ops::controls::{AuditView, ClearedView, ReleaseHoldsRequest};
    use ops::people::{PersonRequest, PersonView};
    use ops::requests::{OneConcert, SeatsView};
    vec![
        Operation::new(
            HttpMethod::Delete,
            "/admin/waiting",
            "clear_line",
            "Take everybody's place who waits; whoever is active goes on",
        )
        .operators_only()
        .query::<OneConcert>()
        .answers::<ClearedView>(200, "Whoever comes next stands in a new line.")
        .refuses(&[Code::UnknownConcert, Code::RedisUnavailable, Code::NotReady])
        .refuses(&[Code::OutcomeUnknown]),
        Operation::new(
            HttpMethod::Delete,
            "/admin/holds",
            "release_holds",
            "Give people's holds of seats back, whoever has them; the holders keep their places",
        )
        .operators_only()
        .query::<ReleaseHoldsRequest>()
        .answers::<SeatsView>(200, "The seats that somebody held; they are free again.")
        .refuses(&[Code::UnknownConcert, Code::UnknownDate, Code::UnknownSeat])
        .refuses(&[Code::PaymentInProgress, Code::RedisUnavailable, Code::NotReady])
        .refuses(&[Code::OutcomeUnknown]),
        Operation::new(
            HttpMethod::Get,
            "/admin/people",
            "show_person",
            "What is known of a user in a concert, or of a token (as `token`, best in the body)",
        )
        .operators_only()
        .query::<PersonRequest>()
        .answers::<PersonView>(200, "Place, holds, seats and balance, as far as there are any.")
        .refuses(&[Code::UnknownConcert, Code::TokenInvalid, Code::RedisUnavailable])
        .refuses(&[Code::NotReady, Code::DatabaseUnavailable]),
        Operation::new(
            HttpMethod::Get,
            "/admin/audit",
            "list_changes",
            "What operators did, the newest first",
        )
        .operators_only()
        .query::<OneConcert>()
        .answers::<AuditView>(200, "At most 100 things.")
        .refuses(&[Code::UnknownConcert, Code::RedisUnavailable, Code::NotReady]),
    ]
}

/// What operators keep out of the sale.
pub(super) fn withholding() -> Vec<Operation> {
    use ops::requests::{OneConcert, SeatsView};
    use ops::withheld::{WithheldView, WithholdRequest};
    let refusals = [Code::UnknownConcert, Code::RedisUnavailable, Code::NotReady];
    let unknown = [Code::UnknownDate, Code::UnknownSeat, Code::OutcomeUnknown];
    let path = "/admin/withheld";
    vec![
        Operation::new(HttpMethod::Get, path, "list_withheld", "The seats held back from sale")
            .operators_only()
            .query::<OneConcert>()
            .answers::<WithheldView>(200, "The dates that have some.")
            .refuses(&refusals),
        Operation::new(
            HttpMethod::Post,
            path,
            "withhold_seats",
            "Hold seats of a date back from sale, all or none",
        )
        .operators_only()
        .body::<WithholdRequest>()
        .answers::<SeatsView>(200, "They are withheld, whether or not they were before.")
        .refuses(&refusals)
        .refuses(&unknown)
        .refuses(&[Code::SeatSold, Code::SeatTaken]),
        Operation::new(
            HttpMethod::Delete,
            path,
            "give_seats_back",
            "Give withheld seats of a date back to the sale",
        )
        .operators_only()
        .query::<WithholdRequest>()
        .answers::<SeatsView>(200, "Those that were withheld.")
        .refuses(&refusals)
        .refuses(&[Code::UnknownDate, Code::OutcomeUnknown, Code::DatabaseUnavailable]),
    ]
}

/// What operators watch.
pub(super) fn watching() -> Vec<Operation> {
    use ops::dashboard::{DashboardView, SeriesRequest, SeriesView};
    vec![
        Operation::new(
            HttpMethod::Get,
            "/admin/dashboard",
            "show_dashboard",
            "This server and every sale, now",
        )
        .query::<NoFields>()
        .operators_only()
        .answers::<DashboardView>(200, "Whatever the stores do."),
        Operation::new(
            HttpMethod::Get,
            "/admin/series",
            "list_series",
            "The last hour of a sale, second by second",
        )
        .operators_only()
        .query::<SeriesRequest>()
        .answers::<SeriesView>(200, "The oldest second first.")
        .refuses(&[Code::UnknownConcert, Code::RedisUnavailable, Code::NotReady]),
        Operation::new(HttpMethod::Get, "/metrics", "show_metrics", "For Prometheus")
            .any_query()
            .operators_only()
            .answers_text(200, "The text format of Prometheus, version 0.0.4."),
    ]
}
