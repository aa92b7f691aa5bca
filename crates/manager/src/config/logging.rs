//! How much is logged and in which form. Setting the logger up is telemetry's business.

use tracing_subscriber::EnvFilter;

use super::rule::{Choice, Reason, Text};
use super::setting::{Described, Setting};
use super::source::Reader;

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives in the syntax of `tracing`'s `EnvFilter`; known to be valid.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The value of `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

static LOG_LEVEL: Setting<Text<String>> = Setting::new(
    "LOG_LEVEL",
    "info",
    "How much is logged; a list such as `info,hyper=warn` sets it per module",
    Text {
        allowed: "error, warn, info, debug, trace, or a list such as info,hyper=warn",
        parse: parse_level,
        show: String::clone,
    },
)
.earlier_keys(&["logging.level"]);

static LOG_FORMAT: Setting<Choice<LogFormat>> = Setting::new(
    "LOG_FORMAT",
    "text",
    "Form of the log lines",
    Choice {
        words: &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        aliases: &[("console", LogFormat::Text)], // the earlier manager's word
    },
)
.earlier_keys(&["logging.format"]);

pub(super) static SETTINGS: &[&dyn Described] = &[&LOG_LEVEL, &LOG_FORMAT];

/// A directive without `=` must be a level: `EnvFilter` would take a misspelt one for the name of
/// a module, and log nothing.
fn parse_level(text: &str) -> Result<String, Reason> {
    let items: Result<Vec<String>, Reason> = text.split(',').map(parse_directive).collect();
    let level = items?.join(",");
    match EnvFilter::builder().parse(&level) {
        Ok(_) => Ok(level),
        Err(error) => Err(Some(error.to_string())),
    }
}

fn parse_directive(item: &str) -> Result<String, Reason> {
    let item = item.trim();
    if item.contains('=') {
        return Ok(item.to_owned());
    }
    let lower = item.to_ascii_lowercase();
    match lower.as_str() {
        "error" | "warn" | "info" | "debug" | "trace" => Ok(lower),
        "warning" => Ok("warn".to_owned()),
        _ => Err(Some(format!("{item:?} is not a level"))),
    }
}

/// A level in the words of `LOG_LEVEL`, normalised.
///
/// # Errors
/// Why it is none.
pub fn parse_log_level(text: &str) -> Result<String, String> {
    parse_level(text).map_err(|why| why.unwrap_or_else(|| format!("{text:?} is not a level")))
}

impl Log {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { level: reader.read(&LOG_LEVEL), format: reader.read(&LOG_FORMAT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_in_any_case_and_lists_are_directives() {
        assert_eq!(parse_level("WARNING"), Ok("warn".to_owned()));
        assert_eq!(parse_level("Debug"), Ok("debug".to_owned()));
        assert_eq!(parse_level("info, hyper=warn"), Ok("info,hyper=warn".to_owned()));
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        assert_eq!(parse_level("inof"), Err(Some("\"inof\" is not a level".to_owned())));
        assert_eq!(parse_level("info,inof"), Err(Some("\"inof\" is not a level".to_owned())));
        assert!(parse_level("hyper=loud").is_err());
    }
}
