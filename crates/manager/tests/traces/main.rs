//! Traces of the real program, built with the feature `traces`: one trace from a request to its
//! commit to what subscribers are told, and a collector that is slow or away spoils nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod collector;
#[path = "../fleet_common/mod.rs"]
mod fleet_common;

use std::net::SocketAddr;

use collector::{Collector, Conduct, Taken};
use fleet_common::{await_status, register, registration, unregister};
use governance_testkit::fleet::{Fleet, Health, Reception, Told};
use governance_testkit::http::{Answer, Wire, request};
use governance_testkit::manager::{ManagerBuilder, ManagerProcess, PATIENCE};
use governance_testkit::wait::until;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// Spans that may wait; see `telemetry/traces/recorded/queue.rs`.
const QUEUE_MAX: u64 = 8_192;

fn manager(collector: &Collector) -> ManagerBuilder {
    manager_with(&collector.url())
}

/// Checks wait until a test lets them end, so that nothing happens but what it does.
fn manager_with(endpoint: &str) -> ManagerBuilder {
    fleet_common::manager()
        .set("HEALTH_CHECK_TIMEOUT", "30s")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
}

/// Sends a request in a caller's trace.
#[track_caller]
fn call(manager: &ManagerProcess, traceparent: &str, method: &str, target: &str) -> Answer {
    send(manager, traceparent, &request(method, target, None))
}

#[track_caller]
fn register_in(manager: &ManagerProcess, traceparent: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let answer = send(manager, traceparent, &request("POST", "/register", Some(body.as_bytes())));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[track_caller]
fn send(manager: &ManagerProcess, traceparent: &str, bytes: &[u8]) -> Answer {
    let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap() + 2;
    let header = format!("traceparent: {traceparent}\r\ntracestate: lab=7\r\n");
    let mut wire = Wire::open(manager.address()).unwrap();
    wire.send([&bytes[..end], header.as_bytes(), &bytes[end..]].concat()).unwrap();
    wire.receive().unwrap()
}

/// A caller's place in a trace of its own.
fn caller(digit: char, is_sampled: bool) -> (String, String) {
    let trace = digit.to_string().repeat(32);
    let flags = if is_sampled { "01" } else { "00" };
    (trace.clone(), format!("00-{trace}-{}-{flags}", "c".repeat(16)))
}

/// What a pod was last told of a service, once it was told of this port.
#[track_caller]
fn await_told(fleet: &Fleet, to: &str, service: &str, port: Option<u16>) -> Told {
    let last = || fleet.told_to(to).into_iter().rev().find(|told| told.service() == service);
    let port_of =
        |told: &Told| told.pods().first().and_then(|pod| pod["providers"][0]["port"].as_u64());
    let fits = || last().is_some_and(|told| port_of(&told) == port.map(u64::from));
    assert!(until(PATIENCE, fits), "not told of {port:?}: {:?}", fleet.told_to(to));
    last().unwrap()
}

/// A fleet with a subscriber of `eir` that was greeted, and a pod that has not registered.
fn fleet_of_two(manager: &ManagerProcess) -> (Fleet, [governance_testkit::fleet::FakePod; 2]) {
    let fleet = Fleet::new().unwrap();
    let [gw, eir] = ["gw", "eir-1"].map(|name| fleet.pod(name).unwrap());
    eir.set_health(Health::Wait);
    register(&mut manager.client(), &registration("http-gw", &gw, 1, &["eir"]));
    let greeting = await_told(&fleet, "gw", "eir", None);
    assert_eq!(greeting.traceparent, None, "nothing was changed");
    (fleet, [gw, eir])
}

/// A sample of `/metrics`; none if it is not there.
fn sample(manager: &ManagerProcess, name: &str) -> Option<u64> {
    let answer = manager.client().get("/metrics");
    let line = answer.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn spans(manager: &ManagerProcess, result: &str) -> Option<u64> {
    sample(manager, &format!("governance_trace_spans_total{{result=\"{result}\"}}"))
}

fn named<'a>(trace: &'a [Taken], name: &str) -> &'a Taken {
    let found: Vec<_> = trace.iter().filter(|taken| taken.name() == name).collect();
    assert_eq!(found.len(), 1, "{name} in {trace:#?}");
    found[0]
}

#[test]
fn one_trace_leads_from_a_request_through_its_commit_to_what_a_subscriber_is_told() {
    let collector = Collector::start();
    let manager = manager(&collector)
        .set("OTEL_SERVICE_NAME", "lab-manager")
        .set("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc%20d")
        .start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    let (id, parent) = caller('a', true);
    let answer = register_in(&manager, &parent, &registration("eir", &eir, 80, &[]));
    let told = await_told(&fleet, "gw", "eir", Some(80));
    let told_span =
        collector.await_span("notify", |span| span.trace() == id && span.name() == "notify");
    let all = || collector.trace(&id);
    assert!(until(PATIENCE, || all().len() == 5), "{:#?}", all());
    let all = all();

    let root = named(&all, "POST /register");
    assert_eq!((root.parent(), root.service.as_str()), ("c".repeat(16), "lab-manager"));
    assert_eq!(
        (root.says("http.request.method"), root.says("http.route")),
        ("POST".into(), "/register".into())
    );
    assert_eq!(root.says("http.response.status_code"), "200");
    assert_eq!(root.says("governance.request_id"), answer.header("x-request-id").unwrap());
    for name in ["queue", "commit", "publish"] {
        let step = named(&all, name);
        assert_eq!(step.parent(), root.id(), "{step:?}");
        assert_eq!(
            (step.says("governance.service"), step.says("governance.pod")),
            ("eir".into(), "eir-1".into())
        );
        assert!(root.span.start_time_unix_nano <= step.span.end_time_unix_nano);
    }
    let commit = named(&all, "commit");
    assert_eq!(commit.says("governance.result"), "stored");
    assert_eq!(
        (commit.says("governance.epoch"), commit.says("governance.batch.commands")),
        ("1".into(), "1".into())
    );
    assert!(commit.says("governance.batch.sequence").parse::<u64>().unwrap() >= 2);
    let publish = named(&all, "publish");
    assert_eq!(publish.says("governance.revision"), answer.json()["revision"].to_string());

    assert_eq!(told_span.parent(), publish.id());
    assert_eq!(told_span.says("governance.subscriber"), "http-gw:gw");
    assert_eq!(
        (told_span.says("governance.result"), told_span.says("governance.notification.attempt")),
        ("received".into(), "1".into())
    );
    assert_eq!(told_span.says("governance.revision"), told.revision().to_string());
    assert_eq!(told.traceparent, Some(told_span.traceparent()));

    let head = collector.last_head();
    assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
    assert!(head.contains("\r\nx-key: abc d") && head.contains("application/x-protobuf"), "{head}");
    assert_eq!(spans(&manager, "failed"), Some(0));
}

#[test]
fn a_trace_begins_with_a_command_and_elsewhere_only_continues() {
    let collector = Collector::start();
    let manager = manager(&collector).start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    let mut client = manager.client();
    register(&mut client, &registration("eir", &eir, 80, &[]));
    let told = await_told(&fleet, "gw", "eir", Some(80)).traceparent.unwrap();
    unregister(&mut client, "eir", "eir-1");
    let gone = await_told(&fleet, "gw", "eir", None).traceparent.unwrap();
    let root = |name: &'static str, told: String| {
        let span =
            collector.await_span(name, |span| span.name() == name && told.contains(&span.trace()));
        assert_eq!(span.parent(), "");
    };
    root("POST /register", told);
    root("DELETE /unregister", gone);

    client.get("/services");
    let (id, parent) = caller('b', true);
    assert_eq!(call(&manager, &parent, "GET", "/services/eir").status, 200);
    assert_eq!(
        call(&manager, &parent, "DELETE", "/unregister?service_name=a&pod_name=b").status,
        404
    );
    let read =
        collector.await_span("GET", |span| span.trace() == id && span.name().starts_with("GET"));
    assert_eq!((read.name(), read.parent()), ("GET /services/{service}", "c".repeat(16)));
    let refused =
        collector.await_span("404", |span| span.trace() == id && span.name().starts_with("DELETE"));
    assert_eq!(refused.says("http.response.status_code"), "404");
    assert_eq!(refused.span.status.clone().unwrap().code, 0, "not our error");
    assert!(collector.taken().iter().all(|span| span.name() != "GET /services"));
}

#[test]
fn a_caller_that_does_not_record_is_not_recorded_and_its_subscribers_hear_of_no_trace() {
    let collector = Collector::start();
    let manager = manager(&collector).start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    let (id, parent) = caller('d', false);
    register_in(&manager, &parent, &registration("eir", &eir, 80, &[]));
    assert_eq!(await_told(&fleet, "gw", "eir", Some(80)).traceparent, None);
    register(&mut manager.client(), &registration("eir", &eir, 81, &[]));
    let told = await_told(&fleet, "gw", "eir", Some(81)).traceparent.unwrap();
    // Everything before it was sent before it.
    collector.await_span("the later one", |span| span.traceparent() == told);
    assert_eq!(collector.trace(&id).len(), 0);
}

#[test]
fn the_sampler_decides_what_begins_here_and_the_caller_what_it_began() {
    let collector = Collector::start();
    let manager = manager(&collector)
        .set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .set("OTEL_TRACES_SAMPLER_ARG", "0")
        .start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    register(&mut manager.client(), &registration("eir", &eir, 80, &[]));
    assert_eq!(await_told(&fleet, "gw", "eir", Some(80)).traceparent, None);
    let (id, parent) = caller('e', true);
    register_in(&manager, &parent, &registration("eir", &eir, 81, &[]));
    await_told(&fleet, "gw", "eir", Some(81));
    collector.await_span("notify", |span| span.name() == "notify");
    assert!(collector.taken().iter().all(|span| span.trace() == id), "{:#?}", collector.taken());
}

#[test]
fn a_change_of_health_is_a_trace_of_its_own() {
    let collector = Collector::start();
    let manager = manager(&collector).start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    register(&mut manager.client(), &registration("eir", &eir, 80, &[]));
    let registered = await_told(&fleet, "gw", "eir", Some(80)).traceparent.unwrap();
    eir.set_health(Health::Answer(200));
    await_status(&mut manager.client(), "eir", "eir-1", "healthy");
    let is_of_check =
        |span: &Taken| span.name() == "health check" && span.says("governance.pod") == "eir-1";
    let check = collector.await_span("check", is_of_check);
    assert_eq!(
        (check.parent(), check.says("governance.result")),
        (String::new(), "healthy".into())
    );
    assert!(check.span.end_time_unix_nano > check.span.start_time_unix_nano);
    let told = collector.await_span("notify", |span| span.parent() == check.id());
    assert_eq!(told.trace(), check.trace());
    assert!(!registered.contains(&check.trace()));
    let is_told =
        || fleet.told_to("gw").iter().any(|one| one.traceparent == Some(told.traceparent()));
    assert!(is_told(), "{:?}", fleet.told());
    // Checks that change nothing are no traces.
    let checks = || collector.taken().into_iter().filter(is_of_check).count();
    let seen = eir.checks();
    assert!(until(PATIENCE, || eir.checks() > seen + 3));
    assert_eq!(checks(), 1);
}

#[test]
fn the_removal_of_a_dead_pod_is_a_trace_from_its_last_check_to_who_is_told() {
    let collector = Collector::start();
    let manager = manager(&collector).set("HEALTH_CHECK_FAILURE_LIMIT", "2").start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    register(&mut manager.client(), &registration("eir", &eir, 80, &[]));
    await_told(&fleet, "gw", "eir", Some(80));
    eir.set_health(Health::Answer(503));
    let told = await_told(&fleet, "gw", "eir", None).traceparent.unwrap();
    let notify = collector.await_span("notify", |span| span.traceparent() == told);
    let all = || collector.trace(&notify.trace());
    assert!(until(PATIENCE, || all().len() == 5), "{:#?}", all());
    let all = all();
    let check = named(&all, "health check");
    assert_eq!(
        (check.parent(), check.says("governance.result")),
        (String::new(), "removal_due".into())
    );
    for name in ["queue", "commit", "publish"] {
        assert_eq!(named(&all, name).parent(), check.id(), "{name}");
    }
    assert_eq!(notify.parent(), named(&all, "publish").id());
}

#[test]
fn what_piles_up_belongs_to_the_newest_change_that_is_traced() {
    let collector = Collector::start();
    let manager = manager(&collector).set("NOTIFICATION_TIMEOUT", "3s").start();
    let (fleet, [gw, eir]) = fleet_of_two(&manager);
    gw.set_reception(Reception::Hang);
    let [first, second, third] = [caller('1', true), caller('2', true), caller('3', false)];
    register_in(&manager, &first.1, &registration("eir", &eir, 80, &[]));
    await_told(&fleet, "gw", "eir", Some(80));
    register_in(&manager, &second.1, &registration("eir", &eir, 81, &[]));
    register_in(&manager, &third.1, &registration("eir", &eir, 82, &[]));
    gw.set_reception(Reception::Answer(200));
    let told = await_told(&fleet, "gw", "eir", Some(82));
    let is_step = |span: &Taken, trace: &str, result: &str| {
        let is_notify = span.name() == "notify" && span.trace() == trace;
        is_notify && span.says("governance.result") == result
    };
    let failed = collector.await_any(|span| is_step(span, &first.0, "timed_out"));
    assert_eq!(failed.span.status.unwrap().message, "no answer within 3s");
    let received = collector.await_span("received", |span| is_step(span, &second.0, "received"));
    assert_eq!(told.traceparent, Some(received.traceparent()));
    assert_ne!(received.says("governance.notification.attempt"), "1");
}

#[test]
fn each_attempt_is_a_step_until_one_is_received() {
    let collector = Collector::start();
    let manager = manager(&collector).start();
    let (fleet, [gw, eir]) = fleet_of_two(&manager);
    gw.set_reception(Reception::RetryAfter(500, 0));
    let (id, parent) = caller('4', true);
    register_in(&manager, &parent, &registration("eir", &eir, 80, &[]));
    let attempts = || fleet.told_to("gw").iter().filter(|told| !told.pods().is_empty()).count();
    assert!(until(PATIENCE, || attempts() >= 3), "{}", attempts());
    gw.set_reception(Reception::Answer(200));
    let steps = || {
        let steps = collector.trace(&id).into_iter().filter(|span| span.name() == "notify");
        let mut steps: Vec<_> = steps
            .map(|span| {
                let number = span.says("governance.notification.attempt").parse::<usize>().unwrap();
                (number, span.says("governance.result"))
            })
            .collect();
        steps.sort();
        steps
    };
    let is_over = || steps().last().is_some_and(|(_, result)| result == "received");
    assert!(until(PATIENCE, is_over), "{:?}", steps());
    let steps = steps();
    let (_, refused) = steps.split_last().unwrap();
    assert!(refused.len() >= 3 && refused.iter().all(|(_, result)| result == "refused"));
    assert!(steps.iter().map(|(number, _)| *number).eq(1..=steps.len()), "{steps:?}");
}

#[test]
fn what_happened_just_before_the_end_is_sent() {
    let collector = Collector::start();
    let mut manager = manager(&collector).start();
    let (id, parent) = caller('5', true);
    let fleet = Fleet::new().unwrap();
    let eir = fleet.pod("eir-1").unwrap();
    register_in(&manager, &parent, &registration("eir", &eir, 80, &[]));
    assert_eq!(manager.stop().code(), Some(0), "{}", manager.log_text());
    assert_eq!(collector.trace(&id).len(), 4, "{:#?}", collector.taken());
}

/// Registers pods of services that nobody hears of.
#[track_caller]
fn register_many(manager: &ManagerProcess, count: u64) {
    let mut client = manager.client();
    for number in 0..count {
        let body = json!({
            "service_name": format!("s{}", number / 10), "pod_name": format!("p{number}"),
            "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
            "health_check_url": "http://127.0.0.1:1/", "notification_url": "http://127.0.0.1:1/",
        });
        register(&mut client, &body);
    }
}

#[test]
fn a_collector_that_hangs_costs_spans_which_are_counted_and_nothing_else() {
    let collector = Collector::start();
    collector.behave(Conduct::Hang);
    let mut manager =
        manager(&collector).set("STORAGE", "memory").set("HEALTH_CHECK_INTERVAL", "1h").start();
    // Four steps each, and a check each: more than can wait and be on their way.
    register_many(&manager, 3_000);
    assert!(collector.exports() > 0);
    let queued = sample(&manager, "governance_trace_queue_spans").unwrap();
    assert!(queued <= QUEUE_MAX, "{queued}");
    assert!(until(PATIENCE, || spans(&manager, "dropped").unwrap() > 0));
    let warnings = |manager: &ManagerProcess| {
        let log = manager.log();
        log.into_iter()
            .filter(|line| line["level"] == "WARN")
            .filter(|line| {
                line["message"].as_str().is_some_and(|text| text.contains("does not take traces"))
            })
            .count()
    };
    assert!(until(PATIENCE, || warnings(&manager) == 1), "{}", manager.log_text());
    assert_eq!(manager.stop().code(), Some(0), "{}", manager.log_text());
    assert_eq!(warnings(&manager), 1, "it is said once");
    let given_up = manager.log().into_iter().any(|line| {
        line["message"].as_str().is_some_and(|text| text.contains("given up at the end"))
    });
    assert!(given_up, "{}", manager.log_text());
}

#[test]
fn a_collector_that_is_not_there_costs_nothing_else() {
    // Bound, so that nobody else gets the port, and not listening.
    let port = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    port.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = port.local_addr().unwrap().as_socket().unwrap();
    let mut manager = manager_with(&format!("http://{address}")).start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    register(&mut manager.client(), &registration("eir", &eir, 80, &[]));
    assert!(await_told(&fleet, "gw", "eir", Some(80)).traceparent.is_some());
    let warning = manager.wait_for_log(|line| {
        line["message"].as_str().is_some_and(|text| text.contains("does not take traces"))
    });
    assert!(warning["why"].as_str().is_some_and(|why| why.contains("refused")), "{warning}");
    // Given up after some tries.
    assert!(until(PATIENCE, || spans(&manager, "failed").unwrap() > 0));
    assert_eq!(spans(&manager, "sent"), Some(0));
    assert_eq!(manager.stop().code(), Some(0), "{}", manager.log_text());
}

#[test]
fn what_a_collector_cannot_take_for_a_moment_is_sent_again() {
    let collector = Collector::start();
    collector.behave(Conduct::Answer(503));
    let manager = manager(&collector).start();
    let (id, parent) = caller('6', true);
    let fleet = Fleet::new().unwrap();
    let eir = fleet.pod("eir-1").unwrap();
    register_in(&manager, &parent, &registration("eir", &eir, 80, &[]));
    assert!(until(PATIENCE, || collector.exports() > 0));
    collector.behave(Conduct::Take);
    assert!(until(PATIENCE, || collector.trace(&id).len() == 4), "{:#?}", collector.taken());
    manager.wait_for_log(|line| line["message"] == "the collector takes traces again");
    assert_eq!(spans(&manager, "failed"), Some(0));
}

#[test]
fn without_a_collector_nothing_is_traced() {
    let manager = fleet_common::manager().set("HEALTH_CHECK_TIMEOUT", "30s").start();
    let (fleet, [_gw, eir]) = fleet_of_two(&manager);
    let (_, parent) = caller('7', true);
    register_in(&manager, &parent, &registration("eir", &eir, 80, &[]));
    assert_eq!(await_told(&fleet, "gw", "eir", Some(80)).traceparent, None);
    assert_eq!(spans(&manager, "sent"), None);
    let disabled = manager_with("http://127.0.0.1:9").set("OTEL_SDK_DISABLED", "true").start();
    assert_eq!(spans(&disabled, "sent"), None);
}

#[test]
fn wrong_settings_of_traces_stop_the_start_all_at_once() {
    let ended = manager_with("localhost:4317")
        .set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .set("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")
        .set("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")
        .set("OTEL_TRACES_SAMPLER", "jaeger_remote")
        .set("OTEL_TRACES_SAMPLER_ARG", "2")
        .set("OTEL_RESOURCE_ATTRIBUTES", "a")
        .set("OTEL_SDK_DISABLED", "maybe")
        .run_to_end();
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    for name in [
        "ENDPOINT",
        "PROTOCOL",
        "HEADERS",
        "CERTIFICATE",
        "SAMPLER",
        "SAMPLER_ARG",
        "ATTRIBUTES",
        "DISABLED",
    ] {
        assert!(ended.stderr.contains(name), "{name} in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
}
