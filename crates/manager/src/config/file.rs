//! The configuration file: YAML with the settings' names as keys, in any case and style
//! (`SERVER_PORT`, `server_port`, `serverPort`), or with the earlier manager's sections
//! (`server: {port: …}`).
//!
//! This is the only file that knows the YAML library. A value is taken as it is written, not as
//! YAML's types would have it, so that a password `007` stays one. What a value must look like is
//! not decided here. Size, nesting and aliases are bounded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::fault::Fault;
use super::setting::Card;
use super::source::{CONFIG_FILE, Given, Origin};
use super::table;

/// The largest configuration file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) values: Vec<(&'static Card, Given)>,
    pub(super) warnings: Vec<String>,
    pub(super) faults: Vec<Fault>,
}

/// Reads a file; the error completes the fault of `CONFIG_FILE`.
pub(super) fn read(path: &Path) -> Result<Contents, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err("is too large: at most 1 MiB is read".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = String::from_utf8_lossy(valid).matches('\n').count() + 1;
        format!("is not UTF-8 text: line {line}")
    })?;
    interpret(&path.display().to_string(), text.trim_start_matches('\u{feff}'))
}

fn interpret(path: &str, text: &str) -> Result<Contents, String> {
    let options = serde_saphyr::options! {
        with_snippet: false, // a snippet would print the neighbouring lines, secrets included
    };
    let root: Spanned<Node> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| format!("is not valid YAML: {}", reason(&error)))?;
    let entries = match root.value {
        Node::Null => return Ok(Contents::default()),
        Node::Map(entries) => entries,
        Node::Text(_) | Node::Typed(_) | Node::List(_) => {
            return Err(format!(
                "line {}: must be a mapping of settings to values, such as SERVER_PORT: 8080",
                root.referenced.line()
            ));
        }
    };
    let mut pass = Pass { path: path.into(), text, keys: known_keys(), seen: BTreeMap::new() };
    let mut contents = Contents::default();
    for (key, node) in &entries {
        pass.top_level(key, node, &mut contents);
    }
    Ok(contents)
}

/// The library's text, with the place if it does not name it itself.
fn reason(error: &serde_saphyr::Error) -> String {
    let message = if matches!(error, serde_saphyr::Error::MultipleDocuments { .. }) {
        "more than one document".to_owned()
    } else {
        error.to_string()
    };
    match error.location() {
        Some(at) if !message.contains("line ") => {
            format!("{message} at line {}, column {}", at.line(), at.column())
        }
        _ => message,
    }
}

/// Every spelling of a key that is understood, normalised, with the setting it means.
fn known_keys() -> BTreeMap<String, &'static Card> {
    let mut keys = BTreeMap::new();
    let cards = table::settings().map(super::setting::Described::card);
    for card in cards.filter(|card| card.name != CONFIG_FILE.card.name) {
        keys.insert(normal(card.name), card);
        keys.extend(card.earlier_keys.iter().map(|key| (normal(key), card)));
    }
    keys
}

/// `SSL_MODE`, `ssl-mode` and `sslMode` are one key.
fn normal(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).collect::<String>().to_ascii_lowercase()
}

/// One walk over a file.
struct Pass<'a> {
    path: Arc<str>,
    text: &'a str,
    keys: BTreeMap<String, &'static Card>,
    /// Key and line under which a setting was found, to name both when it stands there twice.
    seen: BTreeMap<&'static str, (String, u64)>,
}

impl Pass<'_> {
    fn top_level(&mut self, key: &str, node: &Spanned<Node>, into: &mut Contents) {
        let prefix = format!("{}.", normal(key));
        let is_section = self.keys.keys().any(|known| known.starts_with(&prefix));
        if let (true, Node::Map(entries)) = (is_section, &node.value) {
            for (inner, node) in entries {
                self.entry(&format!("{key}.{inner}"), node, into);
            }
        } else if !(is_section && matches!(node.value, Node::Null)) {
            self.entry(key, node, into);
        }
    }

    fn entry(&mut self, key: &str, node: &Spanned<Node>, into: &mut Contents) {
        let line = node.referenced.line();
        let path = &self.path;
        let Some(card) = self.keys.get(&normal(key)).copied() else {
            into.warnings.push(format!("{path} line {line}: unknown setting {key:?} is ignored"));
            return;
        };
        let origin = Origin::File { path: Arc::clone(path), line };
        let first = self.seen.entry(card.name).or_insert_with(|| (key.to_owned(), line));
        if first.0 != key {
            let problem = format!("is set twice: as {:?} in line {} too", first.0, first.1);
            into.faults.push(Fault::without_value(card, &origin, problem));
            return;
        }
        match self.scalar_or_list(node) {
            Some(text) => into.values.push((card, Given { text, origin })),
            None => {
                let problem = "must be a single value, or a list of single values".to_owned();
                into.faults.push(Fault::without_value(card, &origin, problem));
            }
        }
    }

    /// A list is read as its items with commas between them, which all list settings understand.
    fn scalar_or_list(&self, node: &Spanned<Node>) -> Option<String> {
        match &node.value {
            Node::List(items) => {
                let items: Option<Vec<_>> = items.iter().map(|item| self.scalar(item)).collect();
                items.map(|items| items.join(","))
            }
            Node::Null | Node::Text(_) | Node::Typed(_) | Node::Map(_) => self.scalar(node),
        }
    }

    fn scalar(&self, node: &Spanned<Node>) -> Option<String> {
        match &node.value {
            Node::Null => Some(String::new()),
            Node::Text(text) => Some(text.clone()),
            Node::Typed(fallback) => {
                let span = node.defined.span();
                let as_written = span.byte_offset().zip(span.byte_len()).and_then(|(from, len)| {
                    let from = usize::try_from(from).ok()?;
                    self.text.get(from..from.checked_add(usize::try_from(len).ok()?)?)
                });
                Some(as_written.map_or_else(|| fallback.clone(), |text| text.trim().to_owned()))
            }
            Node::List(_) | Node::Map(_) => None,
        }
    }
}

/// YAML as far as a configuration file needs it.
#[derive(Debug)]
enum Node {
    Null,
    Text(String),
    /// A plain scalar that YAML takes for a number or a boolean, in the library's rendering; the
    /// source text at its place is what counts.
    Typed(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(String, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Typed(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
