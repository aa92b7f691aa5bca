//! The document as a page: written on the server, without scripts and without anything from
//! elsewhere, so that it works where there is no internet.

use std::fmt::{Arguments, Write as _};

use serde_json::{Map, Value};

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width\"><title>Telco Governance Manager: API</title>\
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}code,pre{font:14px/1.45 ui-monospace,monospace;background:#f2f4f6}\
code{padding:.1em .3em}pre{padding:.8rem;overflow:auto}table{border-collapse:collapse;width:100%}\
th,td{border-bottom:1px solid #d5dae0;padding:.3rem .6rem;text-align:left;vertical-align:top}\
table+table{margin-top:1rem}nav{columns:18rem}nav a{display:block;text-decoration:none}\
h2{margin-top:2.5rem}h3{margin-top:2rem}.verb{text-transform:uppercase;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#dde3ea;background:#14181d}code,pre{background:#232a32}\
th,td{border-color:#39424d}a{color:#8ab8ff}}</style></head><body>";

/// The page of a document.
pub(super) fn of(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let mut out = HEAD.to_owned();
    let title = text(&document, "/info/title");
    put(
        &mut out,
        format_args!("<h1>{}: API</h1><p>{}</p>", title, text(&document, "/info/description")),
    );
    out.push_str("<p>The same for programs: <a href=\"/openapi.json\">openapi.json</a>.</p>");
    let operations = operations(&document);
    write_contents(&mut out, &operations);
    for (path, verb, operation) in operations {
        write_operation(&mut out, path, verb, operation);
    }
    out.push_str("<h2 id=\"types\">Types</h2>");
    for (name, schema) in members(document.pointer("/components/schemas")) {
        write_schema(&mut out, name, schema);
    }
    out.push_str("</body></html>\n");
    out
}

/// Path, verb and what is said of them: first what pods need, last what only administrators do.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    const FIRST: [&str; 3] = ["/register", "/heartbeat", "/unregister"];
    let mut operations: Vec<_> = members(document.get("paths"))
        .flat_map(|(path, verbs)| {
            members(Some(verbs)).map(move |(verb, of)| (path.as_str(), verb.as_str(), of))
        })
        .collect();
    operations.sort_by_key(|(path, ..)| {
        let place = FIRST.iter().position(|first| first == path).unwrap_or(FIRST.len());
        (path.starts_with("/admin"), place, !path.starts_with("/services"))
    });
    operations
}

fn write_contents(out: &mut String, operations: &[(&str, &str, &Value)]) {
    out.push_str("<nav>");
    for (path, verb, operation) in operations {
        let id = text(operation, "/operationId");
        let path = escaped(path);
        put(out, format_args!("<a href=\"#{id}\"><span class=\"verb\">{verb}</span> {path}</a>"));
    }
    out.push_str("<a href=\"#types\">Types</a></nav>");
}

fn write_operation(out: &mut String, path: &str, verb: &str, operation: &Value) {
    let id = text(operation, "/operationId");
    let path = escaped(path);
    put(out, format_args!("<h3 id=\"{id}\"><span class=\"verb\">{verb}</span> {path}</h3>"));
    put(out, format_args!("<p>{}</p>", text(operation, "/summary")));
    let parameters = operation.get("parameters").and_then(Value::as_array);
    if let Some(parameters) = parameters {
        out.push_str("<table><tr><th>parameter</th><th>in</th><th>meaning</th></tr>");
        for parameter in parameters {
            let is_required = parameter.get("required") == Some(&Value::Bool(true));
            let mark = if is_required { " (required)" } else { "" };
            put(
                out,
                format_args!(
                    "<tr><td><code>{}</code>{mark}</td><td>{}</td><td>{}</td></tr>",
                    text(parameter, "/name"),
                    text(parameter, "/in"),
                    meaning(parameter),
                ),
            );
        }
        out.push_str("</table>");
    }
    let body = "/requestBody/content/application~1json";
    if let Some(example) = operation.pointer(&format!("{body}/example")) {
        let schema = operation.pointer(&format!("{body}/schema")).map(kind).unwrap_or_default();
        let example = serde_json::to_string_pretty(example).unwrap_or_default();
        put(out, format_args!("<p>Body: {schema}</p><pre>{}</pre>", escaped(&example)));
    }
    out.push_str("<table><tr><th>status</th><th>answer</th></tr>");
    for (status, answer) in members(operation.get("responses")) {
        let content = members(answer.get("content")).next();
        let shape = content.and_then(|(_, media)| media.get("schema")).map(kind);
        let media = content.map(|(media, _)| escaped(media)).unwrap_or_default();
        let about = text(answer, "/description");
        let shape = shape.unwrap_or_default();
        put(out, format_args!("<tr><td>{status}</td><td>{about} {shape} ({media})</td></tr>"));
    }
    out.push_str("</table>");
}

/// What a parameter is for, and its values where they are few.
fn meaning(parameter: &Value) -> String {
    let about = text(parameter, "/description");
    let of = parameter.pointer("/schema/items").or_else(|| parameter.get("schema"));
    match of.filter(|of| of.get("enum").is_some()) {
        Some(of) => format!("{about} {}", kind(of)),
        None => about,
    }
}

fn write_schema(out: &mut String, name: &str, schema: &Value) {
    put(out, format_args!("<h3 id=\"type-{name}\">{name}</h3>"));
    put(out, format_args!("<p>{}</p>", text(schema, "/description")));
    let parts = schema.get("allOf").and_then(Value::as_array);
    let parts: Vec<&Value> = parts.map_or_else(|| vec![schema], |parts| parts.iter().collect());
    out.push_str("<table><tr><th>field</th><th>type</th><th>meaning</th></tr>");
    for part in parts {
        if part.get("properties").is_none() {
            put(out, format_args!("<tr><td></td><td>{}</td><td></td></tr>", kind(part)));
        }
        for (field, of) in members(part.get("properties")) {
            let about = text(of, "/description");
            let kind = kind(of);
            put(
                out,
                format_args!(
                    "<tr><td><code>{}</code></td><td>{kind}</td><td>{about}</td></tr>",
                    escaped(field)
                ),
            );
        }
    }
    out.push_str("</table>");
}

/// A schema in a few words, with a link where it is a type of its own.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = escaped(name.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#type-{name}\">{name}</a>");
    }
    if let Some(items) = schema.get("items") {
        return format!("list of {}", kind(items));
    }
    for word in ["oneOf", "anyOf"] {
        if let Some(kinds) = schema.get(word).and_then(Value::as_array) {
            return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words = words.iter().filter_map(Value::as_str);
        return words
            .map(|word| format!("<code>{}</code>", escaped(word)))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if let Some(values) = schema.get("additionalProperties") {
        return format!("object of {}", kind(values));
    }
    match schema.get("type") {
        Some(Value::String(name)) => escaped(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(escaped).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn put(out: &mut String, text: Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The text at a pointer, escaped; what stands between two backticks is code.
fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str).map(escaped).unwrap_or_default();
    let mut pieces = text.split('`');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    while let Some(code) = pieces.next() {
        match pieces.next() {
            Some(rest) => put(&mut out, format_args!("<code>{code}</code>{rest}")),
            None => put(&mut out, format_args!("`{code}")),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
