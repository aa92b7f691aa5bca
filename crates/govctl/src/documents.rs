//! Registrations from a file or standard input: one document, an array, or a document a line.

use std::io::Read as _;
use std::path::Path;

use governance_api::RegisterRequest;
use serde_json::Value;

use crate::fault::{Fault, Kind};

/// The largest file: a hundred thousand registrations and more.
const FILE_MAX: u64 = 512 * 1024 * 1024;
const HINT: &str = "give a registration as for POST /register, an array of them, or one a line; \
                    `govctl export` prints such a file";

/// A registration as it stands in the file. It is sent as it is, so that the manager judges it, and
/// fields that this program does not know are not lost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document(pub(crate) Value);

impl Document {
    /// `service/pod`, as far as it has names; for people.
    pub(crate) fn name(&self) -> String {
        let (service, pod) = self.key();
        format!("{}/{}", service.unwrap_or("?"), pod.unwrap_or("?"))
    }

    /// Service and pod.
    pub(crate) fn key(&self) -> (Option<&str>, Option<&str>) {
        let text = |field| self.0.get(field).and_then(Value::as_str);
        (text("service_name"), text("pod_name"))
    }
}

/// What is registered, as it would be registered again.
pub(crate) fn of_pod(pod: governance_api::Pod) -> RegisterRequest {
    let governance_api::Pod { service_name, pod_name, providers, .. } = pod;
    RegisterRequest {
        service_name,
        pod_name,
        providers,
        health_check_url: pod.health_check_url,
        notification_url: pod.notification_url,
        subscriptions: pod.subscriptions,
        // The manager shows nobody's.
        instance_id: None,
    }
}

/// Reads a file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<Document>, Fault> {
    let shown = if is_stdin(path) { "standard input".into() } else { path.display().to_string() };
    let mut text = String::new();
    let result = if is_stdin(path) {
        std::io::stdin().lock().take(FILE_MAX).read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(path);
        opened.and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
    };
    result.map_err(|error| {
        let hint = "name a file of text that can be read, or - for standard input";
        Fault::new(Kind::Usage, format!("{shown} cannot be read"), hint)
            .caused_by(error.to_string())
    })?;
    parse(&text).map_err(|cause| {
        Fault::new(Kind::Usage, format!("{shown} holds no registrations"), HINT).caused_by(cause)
    })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Values one after the other; arrays count as their elements.
fn parse(text: &str) -> Result<Vec<Document>, String> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| error.to_string())?;
        if let Value::Array(values) = value {
            found.extend(values);
        } else {
            found.push(value);
        }
    }
    if found.is_empty() {
        return Err("it is empty".to_owned());
    }
    match found.iter().position(|value| !value.is_object()) {
        Some(index) => Err(format!("number {} is no JSON object", index + 1)),
        None => Ok(found.into_iter().map(Document).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text).unwrap().iter().map(Document::name).collect()
    }

    #[test]
    fn one_document_an_array_and_one_a_line_are_read_alike() {
        let (a, b) = (r#"{"service_name":"s","pod_name":"a"}"#, r#"{"service_name":"s"}"#);
        assert_eq!(names(a), ["s/a"]);
        assert_eq!(names(&format!("[{a},\n{b}]")), ["s/a", "s/?"]);
        assert_eq!(names(&format!("{a}\n{b}\n")), ["s/a", "s/?"]);
    }

    #[test]
    fn what_is_no_registration_is_refused_with_its_place() {
        assert_eq!(parse("").unwrap_err(), "it is empty");
        assert_eq!(parse("[]").unwrap_err(), "it is empty");
        assert_eq!(parse("[{}, 3]").unwrap_err(), "number 2 is no JSON object");
        assert!(parse("{\n\"a\":}").unwrap_err().contains("line 2"));
    }
}
