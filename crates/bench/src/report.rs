//! What a run found, as tables for people and as one JSON document for programs.
//!
//! Does not measure. Invariants: a run has failed when rows are missing or an answer was not 200
//! where all must be; a missed target fails it only when it was asked to check. The document goes
//! to standard output, progress to standard error.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use serde::Serialize;

use crate::{
    load::{Counts, Round},
    manager::Rows,
};

/// A line on standard error; a closed one is no reason to stop measuring.
pub(crate) fn progress(line: &str) {
    let _nobody_listens = writeln!(io::stderr().lock(), "{line}");
}

/// Everything a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// How it was run, in words.
    pub(crate) settings: String,
    pub(crate) processors: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) loads: Vec<LoadResult>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) starts: Vec<StartResult>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) questions: Vec<QuestionResult>,
    pub(crate) rows: Vec<NamedRows>,
    pub(crate) verdicts: Vec<Verdict>,
    /// What makes the run worthless, whatever its figures.
    pub(crate) faults: Vec<String>,
}

/// All rounds against one contender.
#[derive(Debug, Serialize)]
pub(crate) struct LoadResult {
    pub(crate) contender: String,
    pub(crate) median: Medians,
    /// Resident memory after the last round.
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) peak_bytes: Option<u64>,
    pub(crate) rounds: Vec<Round>,
}

/// The median of each figure over the rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Medians {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) cpu_us_per_request: Option<f64>,
}

impl Medians {
    pub(crate) fn of(rounds: &[Round]) -> Self {
        let over = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let cpu: Vec<f64> = rounds.iter().filter_map(|round| round.cpu_us_per_request).collect();
        Self {
            requests_per_second: over(|round| round.requests_per_second),
            p50_ms: over(|round| round.p50_ms),
            p99_ms: over(|round| round.p99_ms),
            p999_ms: over(|round| round.p999_ms),
            cpu_us_per_request: (!cpu.is_empty()).then(|| median(cpu)),
        }
    }
}

/// Starts of one kind of server.
#[derive(Debug, Serialize)]
pub(crate) struct StartResult {
    pub(crate) contender: String,
    /// Median time from spawn to a 200 of `/ready`; `None` where no start was measured.
    pub(crate) ready_ms: Option<f64>,
    /// Median resident memory once it was ready and had been asked for its rows.
    pub(crate) rss_bytes: u64,
    pub(crate) peak_bytes: u64,
    /// Median time from SIGTERM to the end of the process.
    pub(crate) stop_ms: Option<f64>,
    pub(crate) starts: usize,
}

/// One question to the audit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct QuestionResult {
    pub(crate) question: String,
    /// Entries of the page.
    pub(crate) found: usize,
    /// Entries that match, as far as they were counted.
    pub(crate) total: usize,
    pub(crate) is_minimum: bool,
    /// Median time of the page while no block had a digest.
    pub(crate) plain_ms: f64,
    /// The same once all had.
    pub(crate) digest_ms: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct NamedRows {
    pub(crate) contender: String,
    #[serde(flatten)]
    pub(crate) rows: Rows,
}

/// A figure beside what is wanted of it.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) bound: f64,
    pub(crate) sense: Sense,
    pub(crate) unit: &'static str,
    pub(crate) passed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sense {
    AtLeast,
    AtMost,
}

impl Verdict {
    pub(crate) fn at_least(what: impl Into<String>, value: f64, bound: f64) -> Self {
        let passed = value >= bound;
        Self { what: what.into(), value, bound, sense: Sense::AtLeast, unit: "", passed }
    }

    pub(crate) fn at_most(
        what: impl Into<String>,
        value: f64,
        bound: f64,
        unit: &'static str,
    ) -> Self {
        let passed = value <= bound;
        Self { what: what.into(), value, bound, sense: Sense::AtMost, unit, passed }
    }

    fn line(&self) -> String {
        let word = if self.passed { "PASS" } else { "FAIL" };
        let sign = match self.sense {
            Sense::AtLeast => '≥',
            Sense::AtMost => '≤',
        };
        let digits = if self.bound < 10.0 { 2 } else { 1 };
        let Self { what, value, bound, unit, .. } = self;
        format!("{word} {what} {value:.digits$}{unit} {sign} {bound}{unit}")
    }
}

impl Report {
    /// Whether the exit code is 0.
    pub(crate) fn is_good(&self, is_checked: bool) -> bool {
        self.faults.is_empty() && (!is_checked || self.verdicts.iter().all(|v| v.passed))
    }

    /// Notes rows that are missing.
    pub(crate) fn add_rows(&mut self, contender: &str, rows: Rows) {
        self.faults.extend(rows.fault().map(|fault| format!("{contender}: {fault}")));
        self.rows.push(NamedRows { contender: contender.to_owned(), rows });
    }

    pub(crate) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        let text = if as_json { serde_json::to_string_pretty(self)? } else { self.tables() };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.trim_end())?;
        out.flush()?;
        Ok(())
    }

    fn tables(&self) -> String {
        let mut text = format!("{}: {}\n", self.scenario, self.settings);
        let _infallible =
            writeln!(text, "{} processors, load generator included\n", self.processors);
        if !self.loads.is_empty() {
            text += &render(&self.load_cells());
            text.push('\n');
        }
        if !self.starts.is_empty() {
            text += &render(&self.start_cells());
            text.push('\n');
        }
        if !self.questions.is_empty() {
            text += &render(&self.question_cells());
            text.push('\n');
        }
        if !self.rows.is_empty() {
            text += &render(&self.row_cells());
            text.push('\n');
        }
        for verdict in &self.verdicts {
            text += &verdict.line();
            text.push('\n');
        }
        for fault in &self.faults {
            let _infallible = writeln!(text, "FAULT {fault}");
        }
        text
    }

    fn load_cells(&self) -> Vec<Vec<String>> {
        let head = [
            "contender",
            "requests/s",
            "min–max",
            "p50 ms",
            "p99 ms",
            "p999 ms",
            "CPU µs/req",
            "RSS MB",
            "peak MB",
            "bytes",
            "not 200",
        ];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.loads.iter().map(LoadResult::cells));
        cells
    }

    fn start_cells(&self) -> Vec<Vec<String>> {
        let head = ["start", "ready ms", "RSS MB", "peak MB", "stop ms", "starts"];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.starts.iter().map(|start| {
            vec![
                start.contender.clone(),
                start.ready_ms.map_or_else(dash, |ms| format!("{ms:.1}")),
                megabytes_text(Some(start.rss_bytes)),
                megabytes_text(Some(start.peak_bytes)),
                start.stop_ms.map_or_else(dash, |ms| format!("{ms:.1}")),
                start.starts.to_string(),
            ]
        }));
        cells
    }

    fn question_cells(&self) -> Vec<Vec<String>> {
        let head = ["question", "page", "total", "ms without digests", "ms"];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.questions.iter().map(|result| {
            vec![
                result.question.clone(),
                result.found.to_string(),
                format!("{}{}", if result.is_minimum { "≥ " } else { "" }, result.total),
                format!("{:.1}", result.plain_ms),
                format!("{:.1}", result.digest_ms),
            ]
        }));
        cells
    }

    fn row_cells(&self) -> Vec<Vec<String>> {
        let head = ["rows afterwards", "registered", "API", "database"];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        cells.extend(self.rows.iter().map(|NamedRows { contender, rows }| {
            vec![
                contender.clone(),
                rows.registered.to_string(),
                rows.api.to_string(),
                rows.database.map_or_else(dash, |count| count.to_string()),
            ]
        }));
        cells
    }
}

impl LoadResult {
    fn cells(&self) -> Vec<String> {
        let rates = || self.rounds.iter().map(|round| round.requests_per_second);
        let median = &self.median;
        vec![
            self.contender.clone(),
            format!("{:.0}", median.requests_per_second),
            format!(
                "{:.0}–{:.0}",
                rates().fold(f64::INFINITY, f64::min),
                rates().fold(0.0, f64::max)
            ),
            format!("{:.2}", median.p50_ms),
            format!("{:.2}", median.p99_ms),
            format!("{:.2}", median.p999_ms),
            median.cpu_us_per_request.map_or_else(dash, |cpu| format!("{cpu:.1}")),
            megabytes_text(self.rss_bytes),
            megabytes_text(self.peak_bytes),
            self.rounds.last().map_or_else(dash, |round| round.counts.mean_body_bytes.to_string()),
            faults_text(self.rounds.iter().map(|round| &round.counts)),
        ]
    }
}

/// `none`, or what came instead of 200 and how often.
fn faults_text<'a>(counts: impl Iterator<Item = &'a Counts>) -> String {
    let mut by_kind = std::collections::BTreeMap::<String, u64>::new();
    for counts in counts {
        for (status, count) in &counts.other_statuses {
            *by_kind.entry(status.to_string()).or_default() += count;
        }
        for (kind, count) in [("broken", counts.broken), ("unanswered", counts.unanswered)] {
            if count > 0 {
                *by_kind.entry(kind.to_owned()).or_default() += count;
            }
        }
    }
    if by_kind.is_empty() {
        return "none".to_owned();
    }
    by_kind.iter().map(|(kind, n)| format!("{kind}: {n}")).collect::<Vec<_>>().join(", ")
}

fn dash() -> String {
    "-".to_owned()
}

/// Megabytes of 10⁶ bytes.
#[expect(clippy::cast_precision_loss, reason = "memory stays far below 2⁵² bytes")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn megabytes_text(bytes: Option<u64>) -> String {
    bytes.map_or_else(dash, |bytes| format!("{:.1}", megabytes(bytes)))
}

/// The middle value; the mean of the two middle ones for an even number; 0 for none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(0.0);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => upper,
        _ => f64::midpoint(upper, values.get(middle - 1).copied().unwrap_or(upper)),
    }
}

/// Columns as wide as their widest cell; the first to the left, figures to the right.
fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _infallible = if column == 0 {
                write!(line, "{cell:<width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(rate: f64, cpu: Option<f64>) -> Round {
        Round {
            requests_per_second: rate,
            p50_ms: 1.0,
            p99_ms: 2.0,
            p999_ms: 3.0,
            cpu_seconds: cpu,
            cpu_us_per_request: cpu,
            counts: Counts { mean_body_bytes: 1300, ..Counts::default() },
        }
    }

    fn report() -> Report {
        let mut refused = round(20_000.0, Some(31.0));
        refused.counts.other_statuses.insert(503, 7);
        refused.counts.broken = 1;
        let rounds = vec![round(10_000.0, Some(33.0)), refused, round(30_000.0, None)];
        Report {
            scenario: "register",
            settings: "1000 pods".to_owned(),
            processors: 2,
            loads: vec![LoadResult {
                contender: "manager, 1000 pods".to_owned(),
                median: Medians::of(&rounds),
                rss_bytes: Some(25_500_000),
                peak_bytes: None,
                rounds,
            }],
            starts: Vec::new(),
            questions: Vec::new(),
            rows: Vec::new(),
            verdicts: vec![Verdict::at_least("ratio", 0.614, 0.55)],
            faults: Vec::new(),
        }
    }

    #[test]
    fn tables_are_aligned_and_show_every_answer_that_was_not_200() {
        assert_eq!(
            report().tables(),
            "\
register: 1000 pods
2 processors, load generator included

contender           requests/s      min–max  p50 ms  p99 ms  p999 ms  CPU µs/req  RSS MB  peak MB  bytes            not 200
manager, 1000 pods       20000  10000–30000    1.00    2.00     3.00        32.0    25.5        -   1300  503: 7, broken: 1

PASS ratio 0.61 ≥ 0.55
"
        );
    }

    #[test]
    fn the_document_is_json_with_rounds_and_verdicts() {
        let document = serde_json::to_value(report()).unwrap();
        assert_eq!(document["loads"][0]["median"]["requests_per_second"], 20_000.0);
        assert_eq!(document["loads"][0]["rounds"][1]["counts"]["other_statuses"]["503"], 7);
        assert_eq!(document["verdicts"][0]["passed"], true);
        assert_eq!(document["verdicts"][0]["sense"], "at_least");
    }

    #[test]
    fn a_missed_target_fails_only_a_checked_run() {
        let mut report = report();
        assert!(report.is_good(true));
        report.verdicts.push(Verdict::at_most("RSS", 150.1, 150.0, " MB"));
        assert!(report.is_good(false) && !report.is_good(true));
        assert!(report.tables().contains("FAIL RSS 150.1 MB ≤ 150 MB"));
    }

    #[test]
    fn missing_rows_fail_every_run() {
        let mut report = report();
        let rows = Rows { registered: 10, api: 9, database: Some(9), is_shared: false };
        report.add_rows("manager", rows);
        assert!(!report.is_good(false));
        assert!(report.tables().contains("FAULT manager: 10 pods registered, 9 found"));
    }

    #[test]
    fn a_value_that_is_no_number_passes_no_target() {
        assert!(!Verdict::at_least("ratio", f64::NAN, 0.5).passed);
        assert!(!Verdict::at_most("ratio", f64::NAN, 0.5, "").passed);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }
}
