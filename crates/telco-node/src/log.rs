//! The log: one line per event on standard error, as text for people or JSON for machines.

use tracing_subscriber::EnvFilter;

use crate::settings::Settings;

/// How the log is written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    level: String,
    is_json: bool,
}

impl LogSettings {
    /// `LOG_LEVEL` (info) and `LOG_FORMAT` (text | json).
    pub fn read(settings: &mut Settings) -> Self {
        let level = settings.text("LOG_LEVEL").unwrap_or_else(|| "info".to_owned());
        if EnvFilter::try_new(&level).is_err() {
            settings.wrong("LOG_LEVEL", format_args!("{level:?} is no level or filter"));
        }
        let format = settings.text("LOG_FORMAT").unwrap_or_else(|| "text".to_owned());
        if format != "text" && format != "json" {
            settings.wrong("LOG_FORMAT", format_args!("{format:?}, allowed is text or json"));
        }
        Self { level, is_json: format == "json" }
    }

    /// Starts logging for the whole process.
    ///
    /// # Errors
    /// When it was started before.
    pub fn start(&self) -> anyhow::Result<()> {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(&self.level)?)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(false);
        let started = if self.is_json {
            builder.json().flatten_event(true).with_current_span(false).try_init()
        } else {
            builder.try_init()
        };
        started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
    }
}
