//! Metrics: their names, which nobody may break by accident, what they count, and their number.

use serde_json::json;

use super::{Bench, registration, with};

/// Names, types and help of all families: dashboards and alerts rest on them.
const GOLDEN: &str = include_str!("metrics.txt");

async fn metrics(bench: &Bench) -> String {
    let answer = bench.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text
}

fn value(text: &str, sample: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn families_are_those_that_were_written_down() {
    let text = metrics(&Bench::start().await).await;
    let families: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(families, GOLDEN.lines().collect::<Vec<_>>());
}

#[tokio::test]
async fn every_sample_belongs_to_the_family_above_it() {
    let bench = Bench::start().await;
    bench.register(&registration("eir", "a")).await;
    let text = metrics(&bench).await;
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line} below {family}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let bench = Bench::start().await;
    let pod = registration("eir", "a");
    bench.register(&pod).await;
    bench.register(&pod).await;
    bench.post("{}").await.problem(400, "invalid_request");
    bench.call("DELETE", "/unregister?service_name=eir&pod_name=x").await;
    bench.get("/services/eir/pods/a").await;
    bench.get("/nowhere/at/all").await;
    let text = metrics(&bench).await;
    for (sample, expected) in [
        ("governance_build_info{version=\"0.0.0-test\"}", 1.0),
        ("governance_role{role=\"active\"}", 1.0),
        ("governance_role{role=\"standby\"}", 0.0),
        ("governance_epoch", 1.0),
        ("governance_store_reachable", 1.0),
        ("governance_services", 1.0),
        ("governance_pods{service=\"eir\",status=\"unknown\"}", 1.0),
        ("governance_pods{service=\"eir\",status=\"healthy\"}", 0.0),
        ("governance_commands_total{command=\"register\",result=\"applied\"}", 1.0),
        ("governance_commands_total{command=\"register\",result=\"unchanged\"}", 1.0),
        ("governance_commands_total{command=\"unregister\",result=\"rejected\"}", 1.0),
        ("governance_commands_total{command=\"evict\",result=\"applied\"}", 0.0),
        ("governance_commit_seconds_count", 1.0),
        ("governance_batch_commands_sum", 2.0),
        ("governance_http_requests_total{route=\"/register\",status=\"200\"}", 2.0),
        ("governance_http_requests_total{route=\"/register\",status=\"400\"}", 1.0),
        ("governance_http_requests_total{route=\"/unregister\",status=\"404\"}", 1.0),
        (
            "governance_http_requests_total{route=\"/services/{service}/pods/{pod}\",status=\"200\"}",
            1.0,
        ),
        ("governance_http_requests_total{route=\"other\",status=\"404\"}", 1.0),
        ("governance_http_request_seconds_count{route=\"/register\"}", 3.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in\n{text}");
    }
    assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6);
}

#[tokio::test]
async fn the_smallest_services_are_counted_together() {
    let bench = Bench::start().await;
    for number in 0..1_003 {
        bench.register(&registration(&format!("s{number}"), "a")).await;
    }
    bench.register(&registration("s1002", "b")).await;
    let pod = with(registration("s1001", "b"), "subscriptions", json!(["eir"]));
    bench.register(&pod).await;
    let text = metrics(&bench).await;
    let of_services = text.lines().filter(|line| line.starts_with("governance_pods{")).count();
    assert_eq!(of_services, (1_000 + 1) * 3);
    assert_eq!(value(&text, "governance_pods{service=\"_other\",status=\"unknown\"}"), Some(3.0));
    assert_eq!(value(&text, "governance_pods{service=\"s1002\",status=\"unknown\"}"), Some(2.0));
    assert_eq!(value(&text, "governance_services"), Some(1_003.0));
}

#[tokio::test]
async fn metrics_are_answered_while_loading() {
    let text = metrics(&Bench::loading()).await;
    assert_eq!(value(&text, "governance_role{role=\"loading\"}"), Some(1.0));
}
