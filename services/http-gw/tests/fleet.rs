//! The three services with the real manager: what a client of the gateways sees while pods come,
//! leave and die.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::time::Duration;

use governance_testkit::http::Client;
use governance_testkit::manager::ManagerProcess;
use governance_testkit::wait::until;
use telco_node::Settings;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const LIST: &str = "35209900* white\n35209901* black\n35209902* grey\n";

/// A service on a runtime of its own: dropped it is gone as if killed, its connections closed.
struct Running {
    runtime: Option<Runtime>,
    stop: CancellationToken,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
    http: SocketAddr,
}

impl Running {
    /// Unregisters and drains; waits for the end.
    fn leave(mut self) {
        self.stop.cancel();
        let (serving, runtime) = (self.serving.take().unwrap(), self.runtime.as_ref().unwrap());
        runtime.block_on(serving).unwrap().unwrap();
    }

    fn client(&self) -> Client {
        Client::new(self.http)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A manager and the way to start services with it.
struct Fleet {
    manager: ManagerProcess,
    directory: TempDir,
}

impl Fleet {
    fn start() -> Self {
        let manager = ManagerProcess::built()
            .set("HEALTH_CHECK_INTERVAL", "500ms")
            .set("HEALTH_CHECK_TIMEOUT", "500ms")
            .set("HEALTH_CHECK_RETRY", "0")
            .start();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("list"), LIST).unwrap();
        Self { manager, directory }
    }

    fn settings(&self, pod: &str) -> Settings {
        let settings = [
            ("HTTP_HOST", "127.0.0.1".to_owned()),
            ("HTTP_PORT", "0".to_owned()),
            ("DIAMETER_PORT", "0".to_owned()),
            ("DIAMETER_REALM", "example.net".to_owned()),
            ("POD_NAME", pod.to_owned()),
            ("GOVERNANCE_MANAGER_URL", format!("http://{}", self.manager.address())),
            ("VIEW_FILE", self.directory.path().join(format!("{pod}.view")).display().to_string()),
            ("EIR_FILE", self.directory.path().join("list").display().to_string()),
        ];
        Settings::new(settings.map(|(name, value)| (name.to_owned(), value)))
    }

    fn eir(&self, pod: &str) -> Running {
        let config = eir::Config::read(&mut self.settings(pod));
        let (tx, rx) = std::sync::mpsc::channel();
        run(&rx, |stop| eir::serve(config, stop, move |at| tx.send(at.http).unwrap()))
    }

    fn diam_gw(&self, pod: &str) -> Running {
        let config = diam_gw::Config::read(&mut self.settings(pod));
        let (tx, rx) = std::sync::mpsc::channel();
        run(&rx, |stop| diam_gw::serve(config, stop, move |at| tx.send(at.http).unwrap()))
    }

    fn http_gw(&self, pod: &str) -> Running {
        let config = http_gw::Config::read(&mut self.settings(pod));
        let (tx, rx) = std::sync::mpsc::channel();
        run(&rx, |stop| http_gw::serve(config, stop, move |at| tx.send(at).unwrap()))
    }
}

fn run<F>(
    rx: &std::sync::mpsc::Receiver<SocketAddr>,
    serve: impl FnOnce(CancellationToken) -> F,
) -> Running
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let runtime = Runtime::new().unwrap();
    let stop = CancellationToken::new();
    let serving = runtime.spawn(serve(stop.clone()));
    let http = rx.recv_timeout(PATIENCE).unwrap();
    Running { runtime: Some(runtime), stop, serving: Some(serving), http }
}

/// Which pod answered a forwarded request, if one did.
fn served_by(client: &mut Client) -> Option<String> {
    let target = "/n5g-eir-eic/v1/equipment-status?pei=imei-352099000000000";
    let answer = client.get(target);
    (answer.status == 200).then(|| answer.header("x-served-by").unwrap().to_owned())
}

fn over_diameter(client: &mut Client, imei: &str) -> (u16, serde_json::Value) {
    let answer = client.get(&format!("/imei/{imei}/status?via=diameter"));
    (answer.status, answer.json())
}

fn is_ready(client: &mut Client) -> bool {
    until(PATIENCE, || {
        served_by(client).is_some() && over_diameter(client, "35209900000000").0 == 200
    })
}

#[test]
fn equipment_has_the_same_status_either_way() {
    let fleet = Fleet::start();
    let _services = (fleet.eir("eir-pod-1"), fleet.diam_gw("diam-gw-pod-1"));
    let gateway = fleet.http_gw("http-gw-pod-1");
    let mut client = gateway.client();
    assert!(is_ready(&mut client));
    for via in ["http", "diameter"] {
        for (imei, status) in [
            ("35209900000000", "WHITELISTED"),
            ("352099010000001", "BLACKLISTED"),
            ("3520990200000099", "GREYLISTED"),
        ] {
            let answer = client.get(&format!("/imei/{imei}/status?via={via}"));
            let expected = serde_json::json!({"imei": imei, "status": status, "via": via});
            assert_eq!(answer.json(), expected);
        }
        let answer = client.get(&format!("/imei/99000000000000/status?via={via}"));
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["cause"], "ERROR_EQUIPMENT_UNKNOWN");
    }
    for target in ["/imei/1/status", "/imei/35209900000000/status?via=pigeon"] {
        assert_eq!(client.get(target).status, 400, "{target}");
    }
    // What the pod says of a bad request is passed on as it is.
    let answer = client.get("/n5g-eir-eic/v1/equipment-status");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["cause"], "MANDATORY_QUERY_PARAM_MISSING");
}

#[test]
fn requests_survive_the_death_of_a_pod_of_each_kind() {
    let fleet = Fleet::start();
    let mut eirs = vec![fleet.eir("eir-pod-1"), fleet.eir("eir-pod-2")];
    let mut relays = vec![fleet.diam_gw("diam-gw-pod-1"), fleet.diam_gw("diam-gw-pod-2")];
    let gateway = fleet.http_gw("http-gw-pod-1");
    let mut client = gateway.client();
    assert!(is_ready(&mut client));
    let mut seen = std::collections::BTreeSet::new();
    assert!(until(PATIENCE, || {
        seen.extend(served_by(&mut client));
        let stats = client.get("/stats").json();
        seen.len() == 2 && stats["diameter"]["usable_pods"] == 2
    }));
    for round in 0..200 {
        if round == 50 {
            drop(eirs.pop());
        }
        if round == 100 {
            drop(relays.pop());
        }
        assert!(served_by(&mut client).is_some(), "round {round}");
        let (status, body) = over_diameter(&mut client, "35209900000000");
        assert_eq!((status, &body["status"]), (200, &"WHITELISTED".into()), "round {round}");
    }
}

#[test]
fn a_pod_that_leaves_is_missed_by_nobody_and_a_new_one_is_used() {
    let fleet = Fleet::start();
    let first = fleet.eir("eir-pod-1");
    let _relay = fleet.diam_gw("diam-gw-pod-1");
    let gateway = fleet.http_gw("http-gw-pod-1");
    let mut client = gateway.client();
    assert!(is_ready(&mut client));
    let second = fleet.eir("eir-pod-2");
    assert!(until(PATIENCE, || served_by(&mut client).as_deref() == Some("eir-pod-2")));
    // It ends while requests go on.
    let leaving = std::thread::spawn(move || first.leave());
    while !leaving.is_finished() {
        assert!(served_by(&mut client).is_some());
        assert_eq!(over_diameter(&mut client, "35209900000000").0, 200);
    }
    leaving.join().unwrap();
    assert_eq!(served_by(&mut client).as_deref(), Some("eir-pod-2"));
    assert_eq!(over_diameter(&mut client, "35209900000000").0, 200);
    drop(second);
}

#[test]
fn without_any_pod_the_gateway_says_so_and_stays_well() {
    let fleet = Fleet::start();
    let gateway = fleet.http_gw("http-gw-pod-1");
    let mut client = gateway.client();
    let answer = client.get("/n5g-eir-eic/v1/equipment-status?pei=imei-352099000000000");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["cause"], "TARGET_NF_NOT_REACHABLE");
    assert_eq!(over_diameter(&mut client, "35209900000000").0, 503);
    assert_eq!(client.get("/health").status, 200);
}

#[test]
fn traffic_goes_on_while_the_manager_is_down_and_a_gateway_can_even_start() {
    let mut fleet = Fleet::start();
    let _services = (fleet.eir("eir-pod-1"), fleet.diam_gw("diam-gw-pod-1"));
    let gateway = fleet.http_gw("http-gw-pod-1");
    let mut client = gateway.client();
    assert!(is_ready(&mut client));
    let view = fleet.directory.path().join("http-gw-pod-1.view");
    assert!(until(PATIENCE, || {
        let kept = std::fs::read_to_string(&view).unwrap_or_default();
        ["eir-pod-1", "diam-gw-pod-1"].iter().all(|pod| kept.contains(pod))
    }));
    fleet.manager.stop();
    // One that starts now knows the pods from the view that its predecessor kept.
    drop(gateway);
    let gateway = fleet.http_gw("http-gw-pod-1");
    let mut client = gateway.client();
    assert!(is_ready(&mut client));
    for _ in 0..20 {
        assert!(served_by(&mut client).is_some());
        assert_eq!(over_diameter(&mut client, "35209900000000").0, 200);
    }
}
