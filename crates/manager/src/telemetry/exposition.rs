//! Writing metrics: the text format 0.0.4 that Prometheus scrapes. Families follow one another, each
//! with its help and type, its samples directly below. Not here: which metrics there are.

use std::fmt::{Display, Write as _};

use super::histogram::Histogram;

/// The media type of what is written.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the process lives.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts per bucket.
    Histogram,
}

/// A label's name and value.
pub type Label<'a> = (&'static str, &'a str);

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    /// The family that samples are added to.
    family: &'static str,
}

impl Exposition {
    /// Begins a family.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        self
    }

    /// Adds a sample to the family.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    /// Adds a family of one sample.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// Adds all samples of a histogram to the family.
    pub fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> &mut Self {
        let mut count = 0;
        for (end, below) in histogram.cumulative() {
            let end = if end.is_finite() { end.to_string() } else { "+Inf".to_owned() };
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", &*end)]).collect();
            self.line("_bucket", &labels, below);
            count = below;
        }
        self.line("_sum", labels, histogram.sum());
        self.line("_count", labels, count);
        self
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.write(format_args!(" {value}\n"));
    }

    /// Names of old rows may hold anything.
    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to memory cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_samples_and_odd_labels_are_written_as_the_format_wants() {
        let histogram = Histogram::new(&[0.5]);
        histogram.note_count(2);
        let mut out = Exposition::default();
        out.family("a_total", Kind::Counter, "How many.").sample(&[("name", "x\\\"y\nz")], 1);
        out.family("b", Kind::Histogram, "How large.").histogram(&[("of", "c")], &histogram);
        out.single("d", Kind::Gauge, "Now.", 0.25);
        assert_eq!(
            out.into_text(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total{name=\"x\\\\\\\"y\\nz\"} 1\n\
             # HELP b How large.\n# TYPE b histogram\nb_bucket{of=\"c\",le=\"0.5\"} 0\n\
             b_bucket{of=\"c\",le=\"+Inf\"} 1\nb_sum{of=\"c\"} 2\nb_count{of=\"c\"} 1\n\
             # HELP d Now.\n# TYPE d gauge\nd 0.25\n"
        );
    }
}
