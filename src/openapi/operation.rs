//! One operation of the description, made from what serves it: the field table of its input, the
//! types of its answers, and the codes of its refusals with their statuses.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AdditionalProperties, AllOf, ArrayBuilder, OneOf, SchemaType};
use utoipa::openapi::{
    Content, Header, HttpMethod, KnownFormat, ObjectBuilder, Ref, RefOr, Required, Schema,
    SchemaFormat, SecurityRequirement, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::examples;
use super::security::{BEARER, OPERATOR, TOKEN_HEADER, TOKEN_QUERY};
use crate::http::{Code, FieldSpec, FromFields, Kind};
use crate::queue::Message;
use crate::words::{ChargeAmount, ConcertId, People, SeatNumber, UnixMs, UserId};

/// The schemas that the operations name, by their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// One method of one path.
pub(super) struct Operation {
    pub path: &'static str,
    pub method: HttpMethod,
    pub schemas: Schemas,
    id: &'static str,
    builder: OperationBuilder,
    answers: Vec<(u16, Response)>,
    codes: Vec<Code>,
}

impl Operation {
    /// An operation that takes nothing; `id` is the name of its handler.
    pub fn new(method: HttpMethod, path: &'static str, id: &'static str, summary: &str) -> Self {
        let builder = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        let (schemas, answers) = (Vec::new(), Vec::new());
        // Any server may be too busy, and any code may have a bug.
        let codes = vec![Code::Overloaded, Code::Internal];
        Self { path, method, schemas, id, builder, answers, codes }
    }

    /// The fields of `T` in the query. A JSON body does as well, so all that is wrong with one may
    /// be wrong here; but few clients can send a body with a GET, and it is not described.
    pub fn query<T: FromFields>(mut self) -> Self {
        for spec in T::FIELDS.iter().filter(|spec| spec.name != "token") {
            self.builder = self.builder.parameter(query_parameter(spec));
        }
        self.refuses(&[Code::AmbiguousInput]).reads_fields(T::FIELDS)
    }

    /// No field, whatever the query says.
    pub fn any_query(mut self) -> Self {
        self.builder = self.builder.description(Some("Any query is ignored."));
        self.reads_fields(&[])
    }

    /// The fields of `T` in a JSON body.
    pub fn body<T: FromFields>(self) -> Self {
        self.body_of(T::FIELDS, body_schema(T::FIELDS), Required::True)
    }

    /// The fields of `T` in a JSON body that may be left out.
    pub fn optional_body<T: FromFields>(self) -> Self {
        self.body_of(T::FIELDS, body_schema(T::FIELDS), Required::False)
    }

    /// The fields of `T` in a JSON body, with exactly one of `choice`.
    pub fn body_with_one_of<T: FromFields>(self, choice: &[&str]) -> Self {
        let one = choice.iter().fold(OneOf::builder(), |one, name| {
            one.item(ObjectBuilder::new().schema_type(Type::Object).required(*name))
        });
        let schema = AllOf::builder().item(body_schema(T::FIELDS)).item(one).build();
        self.body_of(T::FIELDS, Schema::from(schema).into(), Required::True)
    }

    fn body_of(mut self, fields: &[FieldSpec], schema: RefOr<Schema>, needed: Required) -> Self {
        let body = RequestBodyBuilder::new()
            .content("application/json", Content::new(Some(schema)))
            .required(Some(needed));
        self.builder = self.builder.request_body(Some(body.build()));
        self.reads_fields(fields)
    }

    fn reads_fields(self, fields: &[FieldSpec]) -> Self {
        use Code::{BadRequest, OutOfRange, PayloadTooLarge, RequestTimeout, UnsupportedMediaType};
        let ranged = |spec: &FieldSpec| matches!(spec.kind, Kind::Integer | Kind::IntegerList(_));
        let range: &[Code] = if fields.iter().any(ranged) { &[OutOfRange] } else { &[] };
        self.refuses(&[BadRequest, PayloadTooLarge, RequestTimeout, UnsupportedMediaType])
            .refuses(range)
    }

    /// The header field `Idempotency-Key`.
    pub fn idempotent(mut self) -> Self {
        let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]{1,255}$"));
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some("A repetition with the same key and body has one effect."))
            .schema(Some(key));
        self.builder = self.builder.parameter(parameter);
        self.refuses(&[Code::IdempotencyKeyReused])
    }

    /// A queue token, in a header field; with `or_query` also as `?token=`.
    pub fn token(mut self, or_query: bool) -> Self {
        let alone = |scheme| SecurityRequirement::new(scheme, [""; 0]);
        let mut ways = vec![alone(TOKEN_HEADER), alone(BEARER), alone(TOKEN_HEADER)];
        // In jwt mode: the token, and a JWT that says who asks.
        ways[2] = ways[2].clone().add(BEARER, [""; 0]);
        if or_query {
            ways.push(alone(TOKEN_QUERY));
        }
        self.builder = self.builder.securities(Some(ways));
        self.refuses(&[
            Code::BadRequest,
            // Two tokens that differ.
            Code::AmbiguousInput,
            Code::TokenMissing,
            Code::TokenInvalid,
            Code::TokenExpired,
            Code::Unauthenticated,
            Code::NotYours,
            Code::UnknownConcert,
            Code::RedisUnavailable,
            Code::NotReady,
        ])
    }

    /// The concert as `{id}`.
    pub fn concert_in_path(mut self) -> Self {
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(with_example(ConcertId::schema(), json!(1))));
        self.builder = self.builder.parameter(id);
        self.refuses(&[Code::BadRequest, Code::OutOfRange])
    }

    /// A token whose turn has come: it is read, and at its first use claimed.
    pub fn active_token(self) -> Self {
        self.token(false).needs_turn()
    }

    /// The same, which may also come as `?token=`.
    pub fn active_token_or_query(self) -> Self {
        self.token(true).needs_turn()
    }

    fn needs_turn(self) -> Self {
        self.refuses(&[
            Code::StillWaiting,
            Code::WrongConcert,
            Code::UserHasToken,
            Code::OutcomeUnknown,
        ])
    }

    /// The operators' token, as a bearer token.
    pub fn operators_only(mut self) -> Self {
        let bearer = SecurityRequirement::new(OPERATOR, [""; 0]);
        self.builder = self.builder.securities(Some([bearer]));
        self.refuses(&[Code::Unauthenticated, Code::BadRequest])
    }

    /// Refusals in addition to those that follow from the input.
    pub fn refuses(mut self, codes: &[Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// An answer with a body of the type `T`.
    pub fn answers<T: ToSchema>(mut self, status: u16, description: &str) -> Self {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        self.answers_as(status, description, Ref::from_schema_name(T::name()).into())
    }

    /// An answer that is text, not JSON.
    pub fn answers_text(mut self, status: u16, description: &str) -> Self {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let response = ResponseBuilder::new()
            .description(description)
            .content("text/plain", Content::new(Some(Schema::from(text))))
            .header("X-Request-Id", text_header());
        self.answers.push((status, response.build()));
        self
    }

    /// An answer with a body of this schema; its example is the one of [`super::examples`].
    pub fn answers_as(mut self, status: u16, description: &str, schema: RefOr<Schema>) -> Self {
        let mut content = Content::new(Some(schema));
        content.example = examples::answer(self.id);
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/json", content)
            .header("X-Request-Id", text_header());
        self.answers.push((status, response.build()));
        self
    }

    /// An answer that goes on: events.
    pub fn streams(mut self, description: &str) -> Self {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let response = ResponseBuilder::new()
            .description(description)
            .content("text/event-stream", Content::new(Some(Schema::from(text.build()))))
            .header("X-Request-Id", text_header());
        self.answers.push((200, response.build()));
        self
    }

    /// The operation in the form of the description.
    pub fn build(self, tag: &str) -> utoipa::openapi::path::Operation {
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self.codes {
            let codes = by_status.entry(code.status().as_u16()).or_default();
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        let refusals = by_status.iter().map(|(status, codes)| (*status, refusal(*status, codes)));
        let all = self.answers.into_iter().chain(refusals);
        all.fold(self.builder.tag(tag), |builder, (status, response)| {
            builder.response(status.to_string(), response)
        })
        .build()
    }
}

/// A problem with one of these codes, which share a status.
fn refusal(status: u16, codes: &[Code]) -> Response {
    let lines: Vec<_> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let one_of = |kind: Type, values: Vec<Value>| {
        ObjectBuilder::new().schema_type(kind).enum_values(Some(values))
    };
    let names = codes.iter().map(|code| json!(code.as_str())).collect();
    let narrowed = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("status", one_of(Type::Integer, vec![json!(status)]))
        .property("code", one_of(Type::String, names));
    let schema = AllOf::builder().item(Ref::from_schema_name("Problem")).item(narrowed).build();
    let mut response = ResponseBuilder::new()
        .description(lines.join("\n\n"))
        .content("application/problem+json", Content::new(Some(Schema::from(schema))))
        .header("X-Request-Id", text_header());
    if matches!(status, 429 | 503) || codes.contains(&Code::StillWaiting) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        response = response.header("Retry-After", Header::new(seconds.build()));
    }
    response.build()
}

fn text_header() -> Header {
    Header::new(ObjectBuilder::new().schema_type(Type::String).build())
}

fn query_parameter(spec: &FieldSpec) -> Parameter {
    ParameterBuilder::new()
        .name(spec.name)
        .parameter_in(ParameterIn::Query)
        .required(if spec.required { Required::True } else { Required::False })
        .explode(matches!(spec.kind, Kind::IntegerList(_)).then_some(false))
        .schema(Some(field_schema(spec)))
        .build()
}

fn body_schema(fields: &[FieldSpec]) -> RefOr<Schema> {
    let object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
    let object = fields.iter().fold(object, |object, spec| {
        let object = object.property(spec.name, field_schema(spec));
        if spec.required { object.required(spec.name) } else { object }
    });
    Schema::Object(object.build()).into()
}

/// One word means one thing everywhere, so a field's name says its range.
fn field_schema(spec: &FieldSpec) -> RefOr<Schema> {
    let text = |format| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(format)))
    };
    match (spec.kind, spec.name) {
        (Kind::Integer, "capacity" | "batch") => or_null(People::schema(), Type::Integer),
        (Kind::Text, "message") => {
            let text = ObjectBuilder::new()
                .min_length(Some(1))
                .max_length(Some(Message::CHARACTERS_MAX))
                .pattern(Some("^[^\\u0000-\\u001f\\u007f-\\u009f]*$"));
            or_null(text.into(), Type::String)
        }
        (Kind::Text, "opensAt" | "closesAt") => {
            let text = ObjectBuilder::new().description(Some("`now`, or a moment by RFC 3339."));
            or_null(with_example(text.into(), json!("2030-11-01T20:00:00+09:00")), Type::String)
        }
        (Kind::Text, "beacon") => {
            let text = ObjectBuilder::new().pattern(Some("^[0-9a-fA-F]{16,128}$"));
            or_null(text.into(), Type::String)
        }
        (Kind::Boolean, _) => ObjectBuilder::new().schema_type(Type::Boolean).into(),
        (Kind::Integer, "userId") => with_example(UserId::schema(), json!(1)),
        (Kind::Integer, "concertId") => with_example(ConcertId::schema(), json!(1)),
        (Kind::Integer, "seatNumber") => with_example(SeatNumber::schema(), json!(12)),
        (Kind::Integer, "after") => with_example(UnixMs::schema(), json!(1_764_183_600_000_i64)),
        (Kind::Integer, "amount") => with_example(ChargeAmount::schema(), json!(30_000)),
        (Kind::Integer, _) => ObjectBuilder::new().schema_type(Type::Integer).into(),
        (Kind::IntegerList(most), _) => ArrayBuilder::new()
            .items(SeatNumber::schema())
            .min_items(Some(1))
            .max_items(Some(most))
            .unique_items(true)
            .into(),
        (Kind::Date, _) => text(KnownFormat::Date).examples([json!("2030-12-24")]).into(),
        (Kind::Uuid, _) => text(KnownFormat::Uuid).into(),
        (Kind::Text, _) => ObjectBuilder::new().schema_type(Type::String).into(),
    }
}

/// `null` removes the setting.
fn or_null(schema: RefOr<Schema>, kind: Type) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.schema_type = SchemaType::from_iter([kind, Type::Null]);
            Schema::Object(object).into()
        }
        other => other,
    }
}

fn with_example(schema: RefOr<Schema>, example: Value) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            object.examples = vec![example];
            Schema::Object(object).into()
        }
        other => other,
    }
}
