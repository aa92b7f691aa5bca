//! `GET /openapi.json` and `GET /docs`: the interface as an `OpenAPI` 3.1 document and as a page.
//!
//! The document is made from the table of operations and from the types of `governance-api`. What is
//! served is the checked-in copy, `docs/openapi.json`; a test compares it with what is made, and
//! `cargo xtask docs` writes it anew.

mod limits;
mod operations;
mod page;

use axum::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

use super::{Answer, access};
use operations::{Content, Kind, Operation, Parameter, Place, operations};

/// The checked-in copy.
const DOCUMENT: &str = include_str!("../../../../../docs/openapi.json");

/// The types of the wire.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    governance_api::RegisterRequest,
    governance_api::Registered,
    governance_api::Unregistered,
    governance_api::Heartbeat,
    governance_api::Notification,
    governance_api::ServiceList,
    governance_api::ServicePods,
    governance_api::PodDetails,
    governance_api::Subscribers,
    governance_api::AuditLogs,
    governance_api::AuditLog,
    governance_api::Health,
    governance_api::Ready,
    governance_api::Version,
    governance_api::Problem,
    governance_api::TargetGroup,
    governance_api::LogLevel,
    governance_api::SnapshotBegin,
    governance_api::SnapshotPage,
    governance_api::SnapshotEnd,
    governance_api::Change,
    governance_api::StreamEnd,
)))]
struct Schemas;

pub(super) async fn document() -> Answer {
    Ok(super::json_answer(DOCUMENT.into()))
}

pub(super) async fn docs() -> Answer {
    let mut answer = Response::new(page::of(DOCUMENT).into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // The page has a style and nothing else; whatever got into it could load nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(answer)
}

/// The document, made from the code.
pub fn generated() -> String {
    let schemas = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let mut components = schemas.get("components").cloned().unwrap_or_default();
    limits::tell(&mut components);
    if let Some(components) = components.as_object_mut() {
        components.insert("securitySchemes".to_owned(), identities());
    }
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), describe(operation));
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Telco Governance Manager",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which pods exist, whether they are well, and who must know. Errors are \
                            problems (RFC 9457); 503 means that nothing was changed, 504 that \
                            nobody knows.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        // Off by default: then nobody is asked.
        "security": [{}, {"token": []}, {"certificate": []}],
        "servers": [{"url": "http://localhost:8080"}],
        "paths": paths,
        "webhooks": {"notification": {"post": notification()}},
        "components": components,
    });
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

/// How a caller says who it is, where the manager asks.
fn identities() -> Value {
    json!({
        "token": {
            "type": "http", "scheme": "bearer",
            "description": "A token of API_TOKENS_FILE.",
        },
        "certificate": {
            "type": "mutualTLS",
            "description": "A client certificate of a CA of TLS_CLIENT_CA_FILE.",
        },
    })
}

/// What a subscriber is sent.
fn notification() -> Value {
    json!({
        "operationId": "notify",
        "tags": ["Pods"],
        "summary": "Sent to the `notification_url` of a subscriber when what it sees of a service \
                    changed, and repeated now and then. The list replaces what was known.",
        "requestBody": {"required": true, "content": {
            "application/json": {"schema": reference("Notification")}
        }},
        "responses": {"2XX": {"description": "Received; anything else is sent again."}},
    })
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": answers(operation),
    });
    let Some(fields) = described.as_object_mut() else { return described };
    if !operation.parameters.is_empty() {
        let parameters = operation.parameters.iter().map(parameter).collect();
        fields.insert("parameters".to_owned(), Value::Array(parameters));
    }
    if let Some((schema, example)) = operation.body {
        let example: Value = serde_json::from_str(example).unwrap_or_default();
        let content = json!({
            "application/json": {"schema": reference(schema), "example": example}
        });
        fields.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    let Parameter { name, place, about, kind, example } = parameter;
    let is_required = matches!(place, Place::Path | Place::RequiredQuery);
    let place = match place {
        Place::Path => "path",
        Place::Query | Place::RequiredQuery => "query",
        Place::Header => "header",
    };
    let text = json!(example);
    let (schema, example) = match kind {
        Kind::Text => (json!({"type": "string", "pattern": "^[^\\u0000]+$"}), text),
        Kind::Like(expression) => (json!({"type": "string", "pattern": expression}), text),
        Kind::Time => (json!({"type": "string", "format": "date-time"}), text),
        Kind::Whole(from, to) => {
            let number: u64 = example.parse().unwrap_or_default();
            (json!({"type": "integer", "minimum": from, "maximum": to}), json!(number))
        }
        Kind::OneOf(words) => (json!({"type": "string", "enum": words}), text),
        Kind::SomeOf(words) => {
            let items = json!({"type": "string", "enum": words});
            let words: Vec<&str> = example.split(',').collect();
            (json!({"type": "array", "items": items, "minItems": 1}), json!(words))
        }
    };
    let mut described = json!({
        "name": name, "in": place, "required": is_required, "description": about,
        "schema": schema, "example": example,
    });
    if let (Kind::SomeOf(_), Some(fields)) = (kind, described.as_object_mut()) {
        fields.insert("style".to_owned(), json!("form"));
        fields.insert("explode".to_owned(), json!(false));
    }
    described
}

fn answers(operation: &Operation) -> Value {
    let (media, schema) = match operation.answer {
        Content::Json(name) => ("application/json", reference(name)),
        Content::JsonList(name) => {
            ("application/json", json!({"type": "array", "items": reference(name)}))
        }
        Content::AnyJson => ("application/json", json!({"type": "object"})),
        Content::Text(media) => (media, json!({"type": "string"})),
    };
    let mut answers = Map::new();
    let content = json!({media: {"schema": schema}});
    answers.insert("200".to_owned(), json!({"description": "Done.", "content": content}));
    let by_identity = [401, 403];
    let is_open = access::is_open(operation.path);
    let by_identity =
        by_identity.iter().filter(|status| !is_open && !operation.problems.contains(status));
    for status in operation.problems.iter().chain(by_identity) {
        let content = json!({"application/problem+json": {"schema": reference("Problem")}});
        let problem = json!({"description": meaning(*status), "content": content});
        answers.insert(status.to_string(), problem);
    }
    Value::Object(answers)
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The input is at fault; `errors` names every fault.",
        401 => "Who calls is not known, and the manager asks for it.",
        403 => "The caller may not, or not from where it is.",
        404 => "There is no such thing.",
        408 => "The body did not arrive in time.",
        409 => "It contradicts the present state; nothing was changed.",
        413 => "The body is larger than 64 KiB.",
        415 => "The body is not JSON.",
        429 => "The service is full; nothing was changed.",
        503 => "Certainly nothing was changed; `Retry-After` says when to try again.",
        504 => "The change may or may not be stored.",
        _ => "A problem.",
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
