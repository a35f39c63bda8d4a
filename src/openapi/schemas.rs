//! The schemas that no type of an answer gives: problems, and JSON that is encoded by hand.

use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};

use crate::http::Code;
use crate::words::SeatNumber;

/// The answer of the one route that encodes its JSON by hand.
pub(super) fn free_seats() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("availableSeats", ArrayBuilder::new().items(SeatNumber::schema()))
        .required("availableSeats")
        .into()
}

/// RFC 9457 with our two members; further ones depend on the code.
pub(super) fn problem() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let codes = Code::ALL.iter().map(|code| json!(code.as_str()));
    let object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("type", text().pattern(Some("^/problems/[a-z-]+$")))
        .property("title", text())
        .property("status", ObjectBuilder::new().schema_type(Type::Integer))
        .property("detail", text())
        .property("code", text().enum_values(Some(codes)))
        .property("requestId", text());
    ["type", "title", "status", "detail", "code", "requestId"]
        .into_iter()
        .fold(object, ObjectBuilder::required)
        .into()
}
