//! How a request says who asks.

use utoipa::openapi::ComponentsBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

/// The queue token in its own header field.
pub(super) const TOKEN_HEADER: &str = "queueToken";
/// The queue token in the query, where a route takes it there.
pub(super) const TOKEN_QUERY: &str = "queueTokenInQuery";
/// `Authorization: Bearer`.
pub(super) const BEARER: &str = "bearer";

/// `Authorization: Bearer` of the operators' routes.
pub(super) const OPERATOR: &str = "operatorToken";

/// Declares the ways.
pub(super) fn schemes(components: ComponentsBuilder) -> ComponentsBuilder {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "In trust mode the queue token. In jwt mode a JWT whose `sub` is the user, on every route \
         but the poll of a waiting token, and the queue token comes as Queue-Token beside it.",
    ));
    let operator = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The token that the server's ONSALE_ADMIN_TOKEN names."));
    let header = ApiKeyValue::with_description("Queue-Token", "The token of POST /user/token.");
    components
        .security_scheme(TOKEN_HEADER, SecurityScheme::ApiKey(ApiKey::Header(header)))
        .security_scheme(
            TOKEN_QUERY,
            SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::new("token"))),
        )
        .security_scheme(BEARER, SecurityScheme::Http(bearer.build()))
        .security_scheme(OPERATOR, SecurityScheme::Http(operator.build()))
}
