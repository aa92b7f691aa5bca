//! How many requests of which route were answered how, and how long that took: a few counters,
//! cheap enough for every request. Labels are bounded: known routes, known statuses, and the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governance_api::paths;
use http::StatusCode;

use crate::telemetry::histogram::Histogram;

/// Routes that are counted apart, in the words of the documentation.
pub(super) const ROUTES: [&str; 19] = [
    paths::REGISTER,
    paths::UNREGISTER,
    paths::HEARTBEAT,
    paths::SERVICES,
    paths::SERVICE,
    paths::POD,
    paths::SUBSCRIBERS,
    paths::WATCH,
    paths::AUDIT_LOGS,
    paths::AUDIT_LOG,
    paths::HEALTH,
    paths::READY,
    paths::VERSION,
    paths::METRICS,
    paths::SD_PROMETHEUS,
    paths::OPENAPI,
    paths::DOCS,
    paths::LOG_LEVEL,
    "other",
];
/// Statuses that are counted apart.
const STATUSES: [u16; 16] =
    [200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 429, 500, 501, 503, 504, 0];
/// Upper ends for times, in seconds. A registration waits for the store up to `REQUEST_TIMEOUT`.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// A route that is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route(usize);

impl Route {
    /// The route of a path. What is between the slashes is not looked at.
    pub(super) fn of(path: &str) -> Self {
        let template = match path.strip_prefix("/services/").map(|rest| rest.split('/')) {
            Some(mut segments) => match (segments.next(), segments.next(), segments.nth(1)) {
                (Some(_), None, _) => paths::SERVICE,
                (Some(_), Some("pods"), None) => paths::POD,
                (Some(_), Some("subscribers"), None) => paths::SUBSCRIBERS,
                _ => "other",
            },
            None => path,
        };
        let known = ROUTES.iter().position(|route| *route == template);
        Self(known.unwrap_or(ROUTES.len() - 1))
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        ROUTES.get(self.0).copied().unwrap_or("other")
    }
}

/// The counters.
#[derive(Debug)]
pub struct Traffic {
    answers: [[AtomicU64; STATUSES.len()]; ROUTES.len()],
    seconds: [Histogram; ROUTES.len()],
}

impl Default for Traffic {
    fn default() -> Self {
        let answers = std::array::from_fn(|_| Default::default());
        Self { answers, seconds: std::array::from_fn(|_| Histogram::new(SECONDS)) }
    }
}

impl Traffic {
    /// Notes an answer.
    pub(super) fn note(&self, route: Route, status: StatusCode, took: Duration) {
        let status = STATUSES.iter().position(|known| *known == status.as_u16());
        let status = status.unwrap_or(STATUSES.len() - 1);
        if let Some(counter) = self.answers.get(route.0).and_then(|row| row.get(status)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(seconds) = self.seconds.get(route.0) {
            seconds.note(took);
        }
    }

    /// Answers by route and status, those that there were.
    pub(super) fn answers(&self) -> impl Iterator<Item = (Route, String, u64)> {
        self.answers.iter().enumerate().flat_map(|(route, row)| {
            STATUSES.iter().zip(row).filter_map(move |(status, count)| {
                let count = count.load(Ordering::Relaxed);
                let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                (count > 0).then_some((Route(route), status, count))
            })
        })
    }

    /// Times by route, of routes that were asked for.
    pub(super) fn seconds(&self) -> impl Iterator<Item = (Route, &Histogram)> {
        let all = self.seconds.iter().enumerate().map(|(route, times)| (Route(route), times));
        all.filter(|(_, times)| times.cumulative().last().is_some_and(|(_, count)| *count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_a_route_of_few() {
        for (path, route) in [
            ("/register", "/register"),
            ("/services", "/services"),
            ("/services/eir", "/services/{service}"),
            ("/services/eir/pods/a", "/services/{service}/pods/{pod}"),
            ("/services/eir/subscribers", "/services/{service}/subscribers"),
            ("/services/eir/nonsense", "other"),
            ("/services/eir/pods/a/b", "other"),
            ("/services/{service}", "/services/{service}"),
            ("/wp-admin.php", "other"),
            ("", "other"),
        ] {
            assert_eq!(Route::of(path).name(), route, "{path}");
        }
    }

    #[test]
    fn statuses_that_nobody_expects_are_counted_together() {
        let traffic = Traffic::default();
        for status in [200, 200, 404, 418, 451] {
            let status = StatusCode::from_u16(status).unwrap();
            traffic.note(Route::of("/register"), status, Duration::from_millis(3));
        }
        let counts: Vec<_> = traffic.answers().map(|(_, status, count)| (status, count)).collect();
        assert_eq!(counts, [("200".into(), 2), ("404".into(), 1), ("other".into(), 2)]);
        assert_eq!(traffic.seconds().count(), 1);
    }
}
