//! Where results go: stdout, in the shape that was asked for. Remarks for people go to stderr, so
//! that a pipe gets results alone.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::Style;
use clap::ValueEnum;
use serde::Serialize;

use crate::fault::Outcome;
use crate::table::{Table, painted};
use crate::text::tame;

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with what matters most.
    Table,
    /// A table with everything.
    Wide,
    /// JSON, for programs.
    Json,
    /// Names alone, one a line.
    Name,
}

/// `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal that has them, unless `NO_COLOR` is set.
    Auto,
    /// Also into a pipe.
    Always,
    /// Not at all.
    Never,
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) format: Format,
    has_colour: bool,
}

impl Screen {
    pub(crate) fn new(format: Format, colour: Colour) -> Self {
        let has_colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org: any value but the empty one.
            Colour::Auto => {
                let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
                let has_none = std::env::var_os("TERM").is_some_and(|name| name == "dumb");
                io::stdout().is_terminal() && !is_unwanted && !has_none
            }
        };
        Self { format, has_colour }
    }

    pub(crate) fn has_colour(self) -> bool {
        self.has_colour
    }

    /// Prints a text that is whole lines.
    #[expect(clippy::unused_self, reason = "what is printed goes through the screen")]
    pub(crate) fn print(self, text: &str) -> Outcome {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    pub(crate) fn line(self, text: &str) -> Outcome {
        self.print(&format!("{}\n", tame(text)))
    }

    pub(crate) fn table(self, table: &Table) -> Outcome {
        self.print(&table.text(self.has_colour))
    }

    /// A value as JSON for reading, over several lines.
    pub(crate) fn json(self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.print(&format!("{text}\n"))
    }

    /// A value as one line of JSON, for commands that print many.
    pub(crate) fn json_line(self, value: &impl Serialize) -> Outcome {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.print(&format!("{text}\n"))
    }

    /// In colour, where there are colours.
    pub(crate) fn paint(self, text: &str, style: Style) -> String {
        painted(text, style, self.has_colour)
    }

    /// For a person beside the result.
    #[expect(clippy::unused_self, reason = "what is printed goes through the screen")]
    pub(crate) fn remark(self, text: &str) {
        // Nothing hangs on a remark.
        let _ = writeln!(io::stderr().lock(), "{}", tame(text));
    }
}
