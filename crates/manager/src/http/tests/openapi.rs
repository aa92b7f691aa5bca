//! The document against what is really answered: every operation is asked with the examples of the
//! document, and every answer is held to its schema, field by field.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::{Answer, Bench};
use crate::http::{Peer, openapi_document};

fn document() -> Value {
    serde_json::from_str(&openapi_document()).unwrap()
}

/// Paths, methods and operations.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
    };
    paths.iter().flat_map(of).collect()
}

/// A request made of examples; optional parameters are left out unless `with_all`.
async fn ask(
    bench: &Bench,
    (path, method, operation): &(String, String, Value),
    with_all: bool,
) -> Answer {
    let (mut path, mut query) = (path.clone(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let example = &parameter["example"];
        let words = example.as_array().into_iter().flatten().filter_map(Value::as_str);
        let text = match (example.as_str(), example.is_array()) {
            (Some(text), _) => text.to_owned(),
            (None, true) => words.collect::<Vec<_>>().join(","),
            (None, false) => example.to_string(),
        };
        let name = parameter["name"].as_str().unwrap();
        let excludes = ["before", "cursor", "registration_id", "instance_id"].contains(&name);
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), &text),
            "query" if parameter["required"] == true || with_all && !excludes => {
                query.push(format!("{name}={text}"));
            }
            _ => {}
        }
    }
    let body = &operation["requestBody"]["content"]["application/json"]["example"];
    let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
    let uri = format!("{path}?{}", query.join("&"));
    let mut request =
        Request::builder().method(method.to_uppercase().as_str()).uri(uri).body(body).unwrap();
    request.extensions_mut().insert(Peer("127.0.0.1:9".parse().unwrap()));
    if path == "/watch" {
        bench.closing.cancel();
    }
    bench.send(request).await
}

/// Holds an answer to what the document says of it.
fn assert_documented(
    document: &Value,
    (path, method, operation): &(String, String, Value),
    answer: &Answer,
) {
    let what = format!("{method} {path}: {} {}", answer.status, answer.text);
    let documented = &operation["responses"][answer.status.as_str()];
    assert!(!documented.is_null(), "{what}");
    let media = answer.header("content-type").unwrap().split(';').next().unwrap();
    let schema = &documented["content"][media]["schema"];
    assert!(!schema.is_null(), "{media}: {what}");
    let value = if media.ends_with("json") { answer.json() } else { json!(answer.text) };
    let fault = fault(document, schema, &value, "");
    assert_eq!(fault, None, "{what}");
}

/// What is wrong with a value, and where. Fields that the schema does not name are wrong.
fn fault(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        return fault(document, schema, value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| fault(document, choice, value, at).is_none());
        return (!fits).then(|| format!("{at}: {value} is none of {choices:?}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{at}: {value} is not one of {words:?}"));
    }
    let of_many = schema["type"].as_array().into_iter().flatten();
    let kinds: Vec<&str> =
        schema["type"].as_str().into_iter().chain(of_many.filter_map(Value::as_str)).collect();
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.is_empty() && !kinds.contains(&kind) {
        return Some(format!("{at}: {value} is not {kinds:?}"));
    }
    match value {
        Value::Array(items) => items
            .iter()
            .find_map(|item| fault(document, &schema["items"], item, &format!("{at}[]"))),
        Value::Object(fields) => {
            let (known, required) = shape(document, schema);
            if let Some(missing) = required.iter().find(|name| !fields.contains_key(*name)) {
                return Some(format!("{at}: {missing} is missing"));
            }
            fields.iter().find_map(|(name, value)| {
                let at = format!("{at}/{name}");
                match known.iter().find(|(known, _)| known == name) {
                    Some((_, schema)) => fault(document, schema, value, &at),
                    None if schema["additionalProperties"].is_object() => {
                        fault(document, &schema["additionalProperties"], value, &at)
                    }
                    None if known.is_empty() => None,
                    None => Some(format!("{at} is not documented")),
                }
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The fields of an object with their schemas, and the names of those that must be there.
fn shape(document: &Value, schema: &Value) -> (Vec<(String, Value)>, Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return shape(document, document.pointer(reference.trim_start_matches('#')).unwrap());
    }
    let (mut known, mut required) = (Vec::new(), Vec::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = shape(document, part);
        known.extend(more);
        required.extend(needed);
    }
    let fields = schema["properties"].as_object().into_iter().flatten();
    known.extend(fields.map(|(name, schema)| (name.clone(), schema.clone())));
    let names = schema["required"].as_array().into_iter().flatten();
    required.extend(names.map(|name| name.as_str().unwrap().to_owned()));
    (known, required)
}

#[test]
fn the_copy_on_disk_is_what_the_code_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let on_disk = std::fs::read_to_string(path).unwrap();
    assert!(
        on_disk == openapi_document(),
        "docs/openapi.json is stale; write it anew with `cargo xtask docs`"
    );
}

#[tokio::test]
async fn every_operation_answers_its_own_examples_as_documented() {
    let document = document();
    let operations = operations(&document);
    for with_all in [false, true] {
        let bench = Bench::start().await;
        let find = |id: &str| operations.iter().find(|(_, _, op)| op["operationId"] == id).unwrap();
        let registered = ask(&bench, find("register"), false).await;
        assert_eq!(registered.status, 200, "{}", registered.text);
        let last = ["unregister", "watch"];
        let is_last =
            |(_, _, op): &&(String, String, Value)| last.iter().any(|id| op["operationId"] == *id);
        let ordered =
            operations.iter().filter(|op| !is_last(op)).chain(operations.iter().filter(is_last));
        for operation in ordered {
            let answer = ask(&bench, operation, with_all).await;
            assert_documented(&document, operation, &answer);
            // The log is not this test's to change.
            let expected = if operation.0 == "/admin/log-level" { 409 } else { 200 };
            assert_eq!(answer.status, expected, "{} {}: {}", operation.1, operation.0, answer.text);
        }
    }
}

#[tokio::test]
async fn refusals_are_documented_too() {
    let document = document();
    let loading = Bench::loading();
    for operation in operations(&document) {
        let answer = ask(&loading, &operation, false).await;
        assert_documented(&document, &operation, &answer);
    }
    let bench = Bench::start().await;
    for operation in operations(&document) {
        // Nobody is registered, and nothing required is given.
        assert_documented(&document, &operation, &ask(&bench, &operation, false).await);
        let (path, method, _) = &operation;
        if path != "/watch" {
            let path = path.replace(['{', '}'], "");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(path);
            let answer = bench.send(request.body(Body::from("{")).unwrap()).await;
            assert_documented(&document, &operation, &answer);
        }
    }
}

#[test]
fn every_route_is_documented_and_every_name_is_unique() {
    let document = document();
    let documented: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let counted: BTreeSet<_> = crate::http::traffic::ROUTES
        .iter()
        .filter(|route| **route != "other")
        .map(|route| (*route).to_owned())
        .collect();
    assert_eq!(documented, counted);
    let operations = operations(&document);
    let ids: BTreeSet<_> =
        operations.iter().map(|(_, _, op)| op["operationId"].to_string()).collect();
    assert_eq!(ids.len(), operations.len());
}

#[test]
fn limits_of_what_is_sent_are_told() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    for (schema, field, limit, value) in [
        ("RegisterRequest", "service_name", "maxLength", json!(128)),
        ("RegisterRequest", "pod_name", "maxLength", json!(128)),
        ("RegisterRequest", "health_check_url", "maxLength", json!(512)),
        ("RegisterRequest", "notification_url", "maxLength", json!(512)),
        ("RegisterRequest", "instance_id", "maxLength", json!(64)),
        ("RegisterRequest", "providers", "maxItems", json!(64)),
        ("RegisterRequest", "subscriptions", "maxItems", json!(256)),
        ("NewProvider", "protocol", "pattern", json!("^[a-z][a-z0-9+.-]{0,31}$")),
        ("NewProvider", "ip", "maxLength", json!(253)),
        ("NewSubscription", "healthy_only", "type", json!(["boolean", "null"])),
        ("NewProvider", "port", "maximum", json!(65_535)),
        ("NewProvider", "provider_id", "maxLength", json!(128)),
        ("NewSubscription", "service_name", "maxLength", json!(128)),
        ("NewSubscription", "provider_ids", "maxItems", json!(64)),
    ] {
        assert_eq!(schemas[schema]["properties"][field][limit], value, "{schema}.{field}");
    }
    assert!(schemas["LogLevel"]["properties"]["level"]["pattern"].is_string());
    assert!(schemas["Provider"]["properties"]["port"]["maximum"].is_null(), "old rows are shown");
}

#[test]
fn the_example_of_a_registration_is_one_of_the_api() {
    let document = document();
    let body = &document["paths"]["/register"]["post"]["requestBody"]["content"];
    let example = body["application/json"]["example"].clone();
    let request: governance_api::RegisterRequest = serde_json::from_value(example).unwrap();
    assert_eq!(request.subscriptions.len(), 2);
}

#[tokio::test]
async fn the_page_shows_every_operation_and_needs_nothing_from_elsewhere() {
    let bench = Bench::start().await;
    let page = bench.get("/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    for (path, _, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(
            page.text.contains(&format!("<h3 id=\"{id}\">")) && page.text.contains(&path),
            "{id}"
        );
    }
    for schema in document()["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.text.contains(&format!("<h3 id=\"type-{schema}\">")), "{schema}");
    }
    for foreign in ["<script", "src=", "href=\"http", "@import", "url("] {
        assert!(!page.text.contains(foreign), "{foreign}");
    }
    let served = bench.get("/openapi.json").await;
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert_eq!(served.json(), document());
}
