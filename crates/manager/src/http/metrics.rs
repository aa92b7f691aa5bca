//! `GET /metrics`: how the manager is doing, for Prometheus. Answered in every phase.
//!
//! Here: which metrics there are, gathered from where they are counted when somebody asks. Labels
//! are bounded: a service has its own samples only while it is among the largest.

use std::cmp::Reverse;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use governance_domain::Status;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::{Answer, HttpState, Shared};
use crate::access::{Access, Tls};
use crate::engine::{DeliveryFigures, HealthFigures, Phase, Snapshot, Writes};
use crate::telemetry::exposition::{Exposition, Kind, MEDIA_TYPE};
use crate::telemetry::process;
use crate::telemetry::traces::TraceFigures;

/// Services with samples of their own; the others are counted together.
const SERVICES_MAX: usize = 1_000;
/// The name under which they are.
const OTHERS: &str = "_other";

pub(super) async fn metrics(State(state): Shared) -> Answer {
    let mut out = Exposition::default();
    write_standing(&mut out, &state);
    write_registry(&mut out, &state.engine.snapshot());
    write_engine(&mut out, &state);
    let health = state.health.as_ref().map(|health| health.figures()).unwrap_or_default();
    write_checks(&mut out, &health);
    let deliveries = state.deliveries.as_ref().map(|told| told.figures()).unwrap_or_default();
    write_notifications(&mut out, &state, &deliveries);
    write_clients(&mut out, &state);
    if let Some(access) = &state.access {
        write_access(&mut out, access);
    }
    if let Some(figures) = state.traces.figures() {
        write_traces(&mut out, figures);
    }
    write_process(&mut out, &state);
    let mut answer = Response::new(out.into_text().into());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(answer)
}

fn write_standing(out: &mut Exposition, state: &HttpState) {
    let standing = state.engine.standing();
    out.family("governance_build_info", Kind::Gauge, "Always 1; its label is the version.")
        .sample(&[("version", state.version)], 1);
    let storage = [("kind", standing.storage.kind)];
    out.family("governance_storage_info", Kind::Gauge, "Always 1; its label is the kind of store.")
        .sample(&storage, 1);
    let role = match standing.phase {
        Phase::Active => "active",
        Phase::Standby { .. } => "standby",
        Phase::Loading { .. } => "loading",
        Phase::Stopping => "stopping",
    };
    out.family("governance_role", Kind::Gauge, "1 for what this manager is now, else 0.");
    for name in ["active", "standby", "loading", "stopping"] {
        out.sample(&[("role", name)], u8::from(name == role));
    }
    let help = "Epoch in which this manager writes; rises with each take-over.";
    out.single("governance_epoch", Kind::Gauge, help, standing.epoch);
    let reachable = u8::from(standing.writes == Writes::Available);
    let help = "1 if the store takes writes, else 0.";
    out.single("governance_store_reachable", Kind::Gauge, help, reachable);
}

fn write_registry(out: &mut Exposition, snapshot: &Snapshot) {
    let help = "Revision of the newest published change.";
    out.single("governance_revision", Kind::Gauge, help, snapshot.revision());
    let registry = &snapshot.registry;
    let help = "Services with at least one pod.";
    out.single("governance_services", Kind::Gauge, help, registry.service_count());
    let help = "Pods by service and status; of the 1,000 largest services, and _other.";
    out.family("governance_pods", Kind::Gauge, help);
    let mut services: Vec<_> = registry.services().collect();
    services.sort_by_key(|service| Reverse(service.pods.len()));
    let mut others = [0_usize; Status::ALL.len()];
    for (index, service) in services.iter().enumerate() {
        let mut counts = [0; Status::ALL.len()];
        for pod in service.pods.iter() {
            let position = Status::ALL.iter().position(|status| *status == pod.status);
            if let Some(count) = position.and_then(|position| counts.get_mut(position)) {
                *count += 1;
            }
        }
        if index < SERVICES_MAX {
            write_pods(out, service.name.as_str(), counts);
        } else {
            others.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    write_pods(out, OTHERS, others);
}

fn write_pods(out: &mut Exposition, service: &str, counts: [usize; Status::ALL.len()]) {
    for (status, count) in Status::ALL.iter().zip(counts) {
        out.sample(&[("service", service), ("status", status.as_str())], count);
    }
}

fn write_engine(out: &mut Exposition, state: &HttpState) {
    let figures = state.engine.figures();
    out.family("governance_commands_total", Kind::Counter, "Commands by kind and result.");
    for (kind, result, count) in figures.commands() {
        out.sample(&[("command", kind), ("result", result)], count);
    }
    let help = "Commands that wait for the writer.";
    out.single("governance_queue_commands", Kind::Gauge, help, state.engine.queue_depth());
    let help = "How long the oldest command of each batch had waited.";
    out.family("governance_queue_wait_seconds", Kind::Histogram, help)
        .histogram(&[], &figures.queue_wait);
    out.family("governance_batch_commands", Kind::Histogram, "Commands decided together.")
        .histogram(&[], &figures.batch_commands);
    out.family("governance_commit_seconds", Kind::Histogram, "How long the store took per batch.")
        .histogram(&[], &figures.commit_seconds);
    let help = "Batches that the store did not confirm, by what it said.";
    out.family("governance_commit_failures_total", Kind::Counter, help);
    for (outcome, count) in figures.commit_failures() {
        out.sample(&[("outcome", outcome)], count);
    }
    let help = "Changes of a pod's status, by what it became.";
    out.family("governance_health_transitions_total", Kind::Counter, help);
    for (to, count) in figures.transitions() {
        out.sample(&[("to", to)], count);
    }
}

fn write_checks(out: &mut Exposition, health: &HealthFigures) {
    out.family("governance_checks_total", Kind::Counter, "Checks that ended, by result.")
        .sample(&[("result", "passed")], health.passed)
        .sample(&[("result", "failed")], health.failed);
    let help = "Turns left out because the check before was not done.";
    out.single("governance_checks_skipped_total", Kind::Counter, help, health.skipped);
    let help = "Attempts that this machine could not make, by what it lacked.";
    out.family("governance_check_own_faults_total", Kind::Counter, help);
    for (lack, count) in &health.own_faults {
        out.sample(&[("lack", lack)], count);
    }
    let help = "Pods that are checked.";
    out.single("governance_checked_pods", Kind::Gauge, help, health.pods);
    let help = "Attempts of checks under way.";
    out.single("governance_checks_in_flight", Kind::Gauge, help, health.in_flight);
    let help = "How late checks began in the last seconds.";
    out.family("governance_check_lag_seconds", Kind::Gauge, help)
        .sample(&[("share", "0.5")], health.lag_p50.as_secs_f64())
        .sample(&[("share", "0.99")], health.lag_p99.as_secs_f64())
        .sample(&[("share", "1")], health.lag_max.as_secs_f64());
    let help = "1 while no dead pod is removed because too many fail at once, else 0.";
    let is_held = u8::from(health.is_removal_held);
    out.single("governance_removal_held", Kind::Gauge, help, is_held);
}

fn write_notifications(out: &mut Exposition, state: &HttpState, figures: &DeliveryFigures) {
    out.family("governance_notifications_total", Kind::Counter, "Attempts to notify, by result.");
    for (result, count) in &figures.attempts {
        out.sample(&[("result", result)], count);
    }
    let help = "Attempts to notify under way.";
    out.single("governance_notifications_in_flight", Kind::Gauge, help, figures.in_flight);
    let help = "Pods that subscribe to something.";
    out.single("governance_subscribers", Kind::Gauge, help, figures.subscribers);
    let help = "Subscribers that should know something and do not.";
    out.single("governance_subscribers_behind", Kind::Gauge, help, figures.behind);
    let help = "Subscribers that did not receive the last attempt.";
    out.single("governance_subscribers_failing", Kind::Gauge, help, figures.failing);
    let now = state.clock.now().as_micros();
    let behind = figures.behind_since.map_or(0, |since| now.saturating_sub(since.as_micros()));
    let behind = Duration::from_micros(u64::try_from(behind).unwrap_or(0)).as_secs_f64();
    let help = "For how long the one behind for longest is, of those that are not unhealthy.";
    out.single("governance_subscriber_lag_seconds", Kind::Gauge, help, behind);
}

fn write_clients(out: &mut Exposition, state: &HttpState) {
    let figures = state.watch.as_ref().map(crate::watch::Watch::figures).unwrap_or_default();
    let help = "Clients that follow changes.";
    out.single("governance_watchers", Kind::Gauge, help, figures.watchers);
    let help = "Clients that were cut off because they read too slowly.";
    out.single("governance_watchers_cut_off_total", Kind::Counter, help, figures.cut_off);
    let help = "HTTP answers by route and status.";
    out.family("governance_http_requests_total", Kind::Counter, help);
    for (route, status, count) in state.traffic.answers() {
        out.sample(&[("route", route.name()), ("status", &status)], count);
    }
    let help = "How long answers took to begin, by route.";
    out.family("governance_http_request_seconds", Kind::Histogram, help);
    for (route, times) in state.traffic.seconds() {
        out.histogram(&[("route", route.name())], times);
    }
}

/// Where callers say who they are, or TLS is spoken.
fn write_access(out: &mut Exposition, access: &Access) {
    let refusals = access.refusals();
    let help = "Requests that were refused because of who sent them, by reason.";
    out.family("governance_access_refused_total", Kind::Counter, help);
    for (reason, count) in refusals.counts() {
        out.sample(&[("reason", reason)], count);
    }
    let help = "1 while a changed file of tokens or certificates cannot be used, else 0.";
    let is_failing = u8::from(refusals.is_reload_failing());
    out.single("governance_access_reload_failing", Kind::Gauge, help, is_failing);
    if let Some(expires) = access.tls().and_then(Tls::expires) {
        let help = "When the API's certificate ends, in seconds since 1970.";
        out.single("governance_tls_certificate_expiry_seconds", Kind::Gauge, help, expires);
    }
}

/// Where traces are recorded.
fn write_traces(out: &mut Exposition, figures: TraceFigures) {
    let help = "Recorded steps of traces, by what became of them.";
    out.family("governance_trace_spans_total", Kind::Counter, help)
        .sample(&[("result", "sent")], figures.sent)
        .sample(&[("result", "failed")], figures.failed)
        .sample(&[("result", "dropped")], figures.dropped);
    let help = "Recorded steps of traces that wait to be sent.";
    out.single("governance_trace_queue_spans", Kind::Gauge, help, figures.queued);
}

/// Under the names that every exporter uses.
fn write_process(out: &mut Exposition, state: &HttpState) {
    let measured = process::measure();
    let help = "Processor time used by the process.";
    out.single("process_cpu_seconds_total", Kind::Counter, help, measured.cpu_seconds);
    let help = "Memory of the process that is in RAM.";
    out.single("process_resident_memory_bytes", Kind::Gauge, help, measured.resident_bytes);
    out.single("process_open_fds", Kind::Gauge, "Open files and sockets.", measured.open_files);
    let help = "Most files and sockets that may be open.";
    out.single("process_max_fds", Kind::Gauge, help, measured.open_files_max);
    #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
    let now = state.clock.now().as_micros() as f64 / 1e6;
    let started = now - state.started.elapsed().as_secs_f64();
    let help = "When the process started, in seconds since 1970.";
    out.single("process_start_time_seconds", Kind::Gauge, help, format_args!("{started:.3}"));
}
