//! Nothing connects to a denied address. Here the denied network is a part of 127.0.0.0/8 where a
//! listener counts who comes, so that "never connected" is seen and not believed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::target::{Purpose, Target};
use tokio::net::TcpListener;

use crate::config::Targets;
use crate::connect::{Dialer, Fault, NameFault, Policy, Resolve, Stream, Trust};

const LIMIT: Duration = Duration::from_secs(10);
/// The forbidden address of these tests; the metadata address of clouds is one like it.
const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(127, 66, 0, 1);

/// Names as a script says.
struct Names(HashMap<&'static str, Result<Vec<IpAddr>, NameFault>>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, NameFault>> {
        let found = self.0.get(name).cloned().unwrap_or(Err(NameFault::Unknown));
        async move { found }.boxed()
    }
}

fn dialer(deny: &[&str], allow: &[&str], names: &[(&'static str, &[&str])]) -> Dialer {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let targets = Targets { deny: networks(deny), allow: networks(allow), ca_file: None };
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let names = names.iter().map(|(name, texts)| (*name, Ok(addresses(texts)))).collect();
    Dialer::new(
        Policy::new(&targets),
        Arc::new(Names(names)),
        Trust::load("TARGET_CA_FILE", None).unwrap(),
    )
}

async fn dial(dialer: &Dialer, url: &str) -> Result<Stream, Fault> {
    let target = Target::parse(url, Purpose::HealthCheck).unwrap();
    dialer.dial(&target, LIMIT).await
}

/// A listener at the forbidden address.
async fn trap() -> (TcpListener, u16) {
    let trap = TcpListener::bind((FORBIDDEN, 0)).await.unwrap();
    let port = trap.local_addr().unwrap().port();
    (trap, port)
}

fn is_untouched(trap: &TcpListener) -> bool {
    trap.accept().now_or_never().is_none()
}

#[tokio::test]
async fn a_denied_address_is_never_connected_to_in_any_notation_or_by_name() {
    let (trap, port) = trap().await;
    let names: &[(&str, &[&str])] = &[
        ("metadata.test", &["127.66.0.1"]),
        ("mapped.test", &["::ffff:127.66.0.1"]),
        ("nat64.test", &["64:ff9b::127.66.0.1"]),
        ("both.test", &["127.66.0.1", "::ffff:127.66.0.1"]),
    ];
    let denying = dialer(&["127.66.0.0/16"], &[], names);
    for url in [
        format!("http://127.66.0.1:{port}/"),
        format!("tcp://127.66.0.1:{port}"),
        format!("https://127.66.0.1:{port}/"),
        format!("http://[::ffff:127.66.0.1]:{port}/"),
        format!("http://[::ffff:7f42:1]:{port}/"),
        format!("http://[64:ff9b::7f42:1]:{port}/"),
        format!("http://[2002:7f42:1::]:{port}/"),
        format!("http://metadata.test:{port}/"),
        format!("http://mapped.test:{port}/"),
        format!("http://nat64.test:{port}/"),
        format!("http://both.test:{port}/"),
    ] {
        let fault = dial(&denying, &url).await.unwrap_err();
        assert!(matches!(fault, Fault::Denied(_)), "{url}: {fault:?}");
    }
    assert!(is_untouched(&trap));

    // The same, allowed: the trap works, and so does the exception.
    let allowing = dialer(&["127.66.0.0/16"], &["127.66.0.1/32"], names);
    for host in ["127.66.0.1", "[::ffff:127.66.0.1]", "metadata.test", "both.test"] {
        dial(&allowing, &format!("http://{host}:{port}/")).await.unwrap();
        trap.accept().await.unwrap();
    }
}

#[test]
fn decimal_octal_and_hexadecimal_notations_are_no_targets_at_all() {
    for host in ["2134016001", "0177.0102.0.1", "0x7f420001", "127.66.1", "0x7f.0x42.0.1"] {
        assert!(Target::parse(&format!("http://{host}/"), Purpose::HealthCheck).is_err(), "{host}");
    }
}

#[tokio::test]
async fn the_denied_addresses_of_a_name_are_passed_over_and_the_others_tried_in_turn() {
    let (trap, port) = trap().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let names: &[(&str, &[&str])] = &[("mixed.test", &["127.66.0.1", "127.0.0.2", "127.0.0.1"])];
    let dialer = dialer(&["127.66.0.0/16"], &[], names);
    // Nobody listens on 127.0.0.2.
    dial(&dialer, &format!("http://mixed.test:{port}/")).await.unwrap();
    listener.accept().await.unwrap();
    assert!(is_untouched(&trap));
}

#[tokio::test]
async fn an_address_that_refuses_outweighs_one_that_this_machine_cannot_reach() {
    let refusing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = refusing.local_addr().unwrap().port();
    drop(refusing);
    // 240.0.0.0/4 is routed nowhere.
    let names: &[(&str, &[&str])] = &[("a.test", &["127.0.0.1", "240.0.0.1"])];
    let fault =
        dial(&dialer(&[], &[], names), &format!("http://a.test:{port}/")).await.unwrap_err();
    assert_eq!(fault, Fault::Refused);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_no_fault_of_ours_and_a_silent_name_server_is() {
    let silent = ("silent.test", Err(NameFault::Unavailable("no name server answered".to_owned())));
    let names = Names(HashMap::from([silent]));
    let targets = Targets { deny: vec![], allow: vec![], ca_file: None };
    let dialer = Dialer::new(
        Policy::new(&targets),
        Arc::new(names),
        Trust::load("TARGET_CA_FILE", None).unwrap(),
    );
    let unknown = dial(&dialer, "http://eir.local/").await.unwrap_err();
    assert_eq!(unknown.to_string(), "name eir.local does not resolve");
    assert!(!unknown.is_ours());
    assert!(dial(&dialer, "http://silent.test/").await.unwrap_err().is_ours());
}
