//! What is refused, with which code, and that the text names fault and cure.

use axum::body::Body;
use serde_json::{Value, json};

use super::{Bench, registration, with};

/// A registration with one thing changed, where the fault is, and what its text must contain.
type Case = (&'static str, Value, &'static str, &'static [&'static str]);

fn base() -> Value {
    registration("eir", "pod")
}

fn provider(field: &str, value: Value) -> Value {
    let mut registration = base();
    registration["providers"][0][field] = value;
    registration
}

fn without(field: &str) -> Value {
    let mut registration = base();
    registration.as_object_mut().unwrap().remove(field);
    registration
}

fn subscription(value: &Value) -> Value {
    with(base(), "subscriptions", json!([value]))
}

fn top_level_cases() -> Vec<Case> {
    let name = |text: &str| with(base(), "service_name", json!(text));
    let url = |text: &str| with(base(), "health_check_url", json!(text));
    let long = "x".repeat(128);
    let too_long_together =
        with(with(base(), "service_name", json!(long)), "pod_name", json!(long));
    let notify = |text: &str| with(base(), "notification_url", json!(text));
    vec![
        ("not an object", json!([]), "", &["must be an object", "array"]),
        ("service missing", without("service_name"), "/service_name", &["is missing", "give"]),
        (
            "service null",
            with(base(), "service_name", Value::Null),
            "/service_name",
            &["is missing"],
        ),
        ("service empty", name(""), "/service_name", &["must not be empty", "1 to 128"]),
        ("service a number", with(base(), "service_name", json!(7)), "/service_name", &["string"]),
        ("service too long", name(&"x".repeat(129)), "/service_name", &["129", "at most 128"]),
        ("colon in service", name("a:b"), "/service_name", &["':'", "position 2"]),
        ("NUL in service", name("a\0b"), "/service_name", &["only A-Z"]),
        ("dash at the end", name("a-"), "/service_name", &["begin and end"]),
        ("pod missing", without("pod_name"), "/pod_name", &["is missing"]),
        ("key too long", too_long_together, "/pod_name", &["256", "at most 254"]),
        ("providers missing", without("providers"), "/providers", &["is missing", "1 to 64"]),
        ("no providers", with(base(), "providers", json!([])), "/providers", &["not be empty"]),
        ("providers an object", with(base(), "providers", json!({})), "/providers", &["array"]),
        ("provider a text", with(base(), "providers", json!(["x"])), "/providers/0", &["object"]),
        ("url missing", without("health_check_url"), "/health_check_url", &["is missing"]),
        ("url relative", url("/health"), "/health_check_url", &["absolute URL"]),
        ("url of another scheme", url("ftp://a/"), "/health_check_url", &["http, https or tcp"]),
        ("url of a later scheme", url("sctp://a:1"), "/health_check_url", &["not supported yet"]),
        ("url with a password", url("http://a:b@c/"), "/health_check_url", &["user information"]),
        ("url denied", url("http://169.254.1.1/"), "/health_check_url", &["TARGET_DENY"]),
        ("tcp for notifications", notify("tcp://a:1"), "/notification_url", &["http or https"]),
        ("notification denied", notify("http://169.254.1.1/"), "/notification_url", &["forbids"]),
        (
            "instance too long",
            with(base(), "instance_id", json!("x".repeat(65))),
            "/instance_id",
            &["65", "at most 64"],
        ),
        (
            "instance with a space",
            with(base(), "instance_id", json!("a b")),
            "/instance_id",
            &["visible ASCII"],
        ),
        ("instance a number", with(base(), "instance_id", json!(1)), "/instance_id", &["string"]),
    ]
}

fn provider_cases() -> Vec<Case> {
    vec![
        (
            "protocol missing",
            provider("protocol", Value::Null),
            "/providers/0/protocol",
            &["is missing"],
        ),
        (
            "protocol upper case",
            provider("protocol", json!("HTTP")),
            "/providers/0/protocol",
            &["lower-case token"],
        ),
        ("ip empty", provider("ip", json!("")), "/providers/0/ip", &["must not be empty"]),
        ("ip wrong", provider("ip", json!("10.0.0.256")), "/providers/0/ip", &["not an address"]),
        ("port missing", provider("port", Value::Null), "/providers/0/port", &["is missing"]),
        ("port a text", provider("port", json!("8080")), "/providers/0/port", &["be a number"]),
        ("port a fraction", provider("port", json!(80.5)), "/providers/0/port", &["whole number"]),
        ("port infinite", provider("port", json!(1e300)), "/providers/0/port", &["whole number"]),
        ("port zero", provider("port", json!(0)), "/providers/0/port", &["1 to 65535"]),
        ("port too high", provider("port", json!(65_536)), "/providers/0/port", &["1 to 65535"]),
        ("port huge", provider("port", json!(u64::MAX)), "/providers/0/port", &["1 to 65535"]),
        (
            "id with a space",
            provider("provider_id", json!("a b")),
            "/providers/0/provider_id",
            &["' '"],
        ),
        (
            "id too long",
            provider("provider_id", json!("x".repeat(129))),
            "/providers/0/provider_id",
            &["128"],
        ),
    ]
}

fn subscription_cases() -> Vec<Case> {
    let filter = |value: Value| subscription(&json!({"service_name": "a", "provider_ids": value}));
    let many = |count: usize| vec![json!("a"); count];
    vec![
        (
            "subscriptions a text",
            with(base(), "subscriptions", json!("a")),
            "/subscriptions",
            &["array"],
        ),
        ("subscription a number", subscription(&json!(1)), "/subscriptions/0", &["service name"]),
        ("subscription null", subscription(&Value::Null), "/subscriptions/0", &["service name"]),
        ("subscription empty", subscription(&json!("")), "/subscriptions/0", &["not be empty"]),
        (
            "subscription without a name",
            subscription(&json!({})),
            "/subscriptions/0/service_name",
            &["is missing"],
        ),
        ("filter a text", filter(json!("x")), "/subscriptions/0/provider_ids", &["array"]),
        (
            "filter of a number",
            filter(json!(["a", 1])),
            "/subscriptions/0/provider_ids/1",
            &["string"],
        ),
        (
            "filter of nothing",
            filter(json!([""])),
            "/subscriptions/0/provider_ids/0",
            &["not be empty"],
        ),
        (
            "filter too long",
            filter(json!(many(65))),
            "/subscriptions/0/provider_ids",
            &["65", "at most 64"],
        ),
        (
            "healthy_only a text",
            subscription(&json!({"service_name": "a", "healthy_only": "yes"})),
            "/subscriptions/0/healthy_only",
            &["true or false"],
        ),
        (
            "too many subscriptions",
            with(base(), "subscriptions", json!(many(257))),
            "/subscriptions",
            &["257", "at most 256"],
        ),
        (
            "too many providers",
            with(base(), "providers", json!(many(65))),
            "/providers",
            &["65", "at most 64"],
        ),
    ]
}

#[tokio::test]
async fn each_fault_of_a_registration_is_named_with_its_place_and_changes_nothing() {
    let bench = Bench::start().await;
    let cases = [top_level_cases(), provider_cases(), subscription_cases()];
    for (name, body, pointer, parts) in cases.into_iter().flatten() {
        let problem = bench.post(body.to_string()).await.problem(400, "invalid_request");
        let [fault] = &problem.errors[..] else { panic!("{name}: {:?}", problem.errors) };
        assert_eq!(fault.pointer, pointer, "{name}: {}", fault.message);
        for part in parts {
            assert!(fault.message.contains(part), "{name}: {}", fault.message);
        }
        assert!(problem.detail.contains(&fault.message), "{name}: {}", problem.detail);
    }
    assert_eq!(bench.get("/services").await.json()["count"], 0, "nothing changed");
}

#[tokio::test]
async fn all_faults_are_named_at_once() {
    let bench = Bench::start().await;
    let body = json!({"providers": [{"port": "x"}, 7], "subscriptions": [{}, ""]});
    let problem = bench.post(body.to_string()).await.problem(400, "invalid_request");
    let pointers: Vec<_> = problem.errors.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(
        pointers,
        [
            "/service_name",
            "/pod_name",
            "/providers/0/protocol",
            "/providers/0/ip",
            "/providers/0/port",
            "/providers/1",
            "/health_check_url",
            "/notification_url",
            "/subscriptions/0/service_name",
            "/subscriptions/1",
        ]
    );
    assert!(problem.detail.ends_with("and 5 more, see errors"), "{}", problem.detail);
}

#[tokio::test]
async fn list_of_faults_is_bounded() {
    let bench = Bench::start().await;
    let filter = json!({"service_name": "a", "provider_ids": vec![1; 64]});
    let body = with(base(), "subscriptions", json!(vec![filter; 10]));
    let problem = bench.post(body.to_string()).await.problem(400, "invalid_request");
    assert_eq!(problem.errors.len(), 257);
    assert_eq!(problem.errors[256].message, "384 more faults are not listed");
}

#[tokio::test]
async fn values_at_their_bounds_are_accepted() {
    let bench = Bench::start().await;
    let providers: Vec<_> = (1..=64)
        .map(|n| {
            json!({"protocol": "x".repeat(32), "ip": "a.b", "port": 65_536 - n,
            "provider_id": "x".repeat(128)})
        })
        .collect();
    let wishes: Vec<_> = (0..256).map(|n| json!(format!("s{n}"))).collect();
    let ids: Vec<_> = (0..64).map(|n| json!(format!("p{n}"))).collect();
    let filter = json!([{"service_name": "a", "provider_ids": ids, "healthy_only": true}]);
    let url = format!("http://a/{}", "x".repeat(503));
    for accepted in [
        registration(&"x".repeat(128), &"y".repeat(126)),
        with(base(), "providers", json!(providers)),
        with(base(), "subscriptions", json!(wishes)),
        with(base(), "subscriptions", filter),
        with(with(base(), "health_check_url", json!(url)), "notification_url", json!(url)),
    ] {
        bench.register(&accepted).await;
    }
}

#[tokio::test]
async fn what_is_not_json_is_refused_with_its_own_code() {
    let bench = Bench::start().await;
    let twice = base().to_string().replacen('{', "{\"pod_name\":\"x\",", 1);
    for (name, body, part) in [
        ("empty", Vec::new(), "the body is empty"),
        ("cut off", b"{\"service_name\":".to_vec(), "EOF"),
        ("not UTF-8", b"{\"service_name\":\"\xff\"}".to_vec(), "not valid UTF-8 at byte 17"),
        ("too deep", "[".repeat(200).into_bytes(), "127 levels"),
        ("a field twice", twice.into_bytes(), "stands twice"),
        ("two documents", b"{}{}".to_vec(), "trailing characters"),
    ] {
        let problem = bench.post(body).await.problem(400, "malformed_json");
        assert!(problem.detail.contains(part), "{name}: {}", problem.detail);
        assert_eq!(problem.errors, [], "{name}");
    }
    assert_eq!(bench.get("/services").await.json()["count"], 0, "nothing changed");
}

#[tokio::test]
async fn body_of_64_kib_is_accepted_and_one_byte_more_is_not() {
    let bench = Bench::start().await;
    let padded = |size: usize| {
        let mut body = base().to_string();
        body.push_str(&" ".repeat(size - body.len()));
        body
    };
    assert_eq!(bench.post(padded(65_536)).await.status, 200);
    bench.post(padded(65_537)).await.problem(413, "body_too_large");
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    bench.post(Body::from_stream(endless)).await.problem(413, "body_too_large");
}

#[tokio::test(start_paused = true)]
async fn body_that_does_not_come_is_given_up() {
    let bench = Bench::start().await;
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    bench.post(Body::from_stream(never)).await.problem(408, "request_timeout");
}

#[tokio::test]
async fn broken_and_compressed_bodies_are_refused() {
    let bench = Bench::start().await;
    let broken = futures_util::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("secret"))]);
    let problem = bench.post(Body::from_stream(broken)).await.problem(400, "malformed_request");
    assert!(!problem.detail.contains("secret"));
    let request = http::Request::post("/register").header("content-encoding", "gzip");
    let answer = bench.send(request.body(Body::from("x")).unwrap()).await;
    answer.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let bench = Bench::start().await;
    for path in ["/", "/nothing", "/services/", "/services/a/pods", "/register/"] {
        bench.get(path).await.problem(404, "not_found");
    }
    for (method, path, allowed) in [
        ("GET", "/register", "POST"),
        ("PUT", "/unregister", "DELETE"),
        ("GET", "/heartbeat", "POST"),
        ("POST", "/services", "GET,HEAD"),
        ("OPTIONS", "/services/a", "GET,HEAD"),
        ("BREW", "/health", "GET,HEAD"),
    ] {
        let answer = bench.call(method, path).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
    bench.get("/services/%ff").await.problem(400, "malformed_request");
}

#[tokio::test]
async fn head_of_a_problem_has_no_body() {
    let bench = Bench::start().await;
    let (get, head) = (bench.get("/no").await, bench.call("HEAD", "/no").await);
    assert_eq!((head.status.as_u16(), head.text.as_str()), (404, ""));
    assert_eq!(head.header("content-length"), Some(get.text.len().to_string().as_str()));
}

#[tokio::test]
async fn request_id_of_the_caller_is_kept() {
    let bench = Bench::start().await;
    let request = |id: &str| {
        http::Request::get("/nothing").header("x-request-id", id).body(Body::empty()).unwrap()
    };
    let kept = bench.send(request("caller-7")).await;
    assert_eq!(kept.problem(404, "not_found").request_id, "caller-7");
    let replaced = bench.send(request(&"x".repeat(129))).await.problem(404, "not_found");
    assert!(replaced.request_id.len() < 40, "{}", replaced.request_id);
    assert!(bench.get("/health").await.header("x-request-id").is_some());
}

#[tokio::test]
async fn panic_is_an_internal_error_that_tells_nothing() {
    let bench = Bench::start().await;
    let clock = std::sync::Arc::new(super::StoppedClock);
    let timeout = std::time::Duration::from_secs(1);
    let engine = bench.engine.clone();
    let state = super::HttpState::new(engine, clock, timeout, bench.draining.clone());
    let panics = axum::routing::get(async || -> String { panic!("secret") });
    let app = super::App::with_routes(state, axum::Router::new().route("/panic", panics));
    let broken = Bench { app, ..bench };
    let problem = broken.get("/panic").await.problem(500, "internal");
    assert!(!problem.detail.contains("secret"));
}

#[tokio::test]
async fn while_loading_only_the_state_of_the_manager_is_told() {
    let bench = Bench::loading();
    for (method, path) in [
        ("GET", "/services"),
        ("GET", "/services/eir"),
        ("GET", "/services/eir/pods/a"),
        ("GET", "/services/eir/subscribers"),
        ("GET", "/ready"),
        ("POST", "/heartbeat?service_name=eir&pod_name=a"),
        ("DELETE", "/unregister?service_name=eir&pod_name=a"),
        ("POST", "/register"),
    ] {
        let problem = bench.call(method, path).await.problem(503, "loading");
        assert!(problem.detail.contains("try again"), "{path}");
    }
    assert_eq!(bench.get("/health").await.json()["role"], "loading");
    assert_eq!(bench.get("/version").await.status, 200);
}
