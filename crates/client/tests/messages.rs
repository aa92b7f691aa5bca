//! What a service author is told when something is wrong: one sentence, with what to do.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fake;

use std::net::TcpListener;
use std::time::Duration;

use fake::{Fake, Mood, eventually, gateway};
use governance_client::{Error, Member, Paths, Phase, Provider};

#[tokio::test]
async fn everything_that_is_wrong_is_named_at_once_before_anything_is_opened() {
    let wrong = gateway("http://127.0.0.1:1")
        .subscribe("Eir!")
        .subscribe("-eir")
        .provides("HTTP", 1)
        .provider(Provider::new("http", "a b", 0))
        .heartbeat(Duration::ZERO)
        .paths(Paths { notify: "notify".to_owned(), ..Paths::default() })
        .start()
        .await
        .unwrap_err();
    let text = wrong.to_string();
    for part in [
        "this cannot be registered: ",
        "subscription \"Eir!\" is not allowed: give 1 to 128 characters of A-Z a-z 0-9 . _ -",
        "subscription \"-eir\"",
        "protocol \"HTTP\" is not allowed: give a lower-case token",
        "port 0 of the http provider is not one of 1 to 65535",
        "heartbeat is 0ns: give between",
        "path \"notify\" is not allowed: begin with /",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let none = Member::builder("eir").pod("a").start().await.unwrap_err().to_string();
    assert!(none.contains("there are 0 providers: give 1 to 64, with provides()"), "{none}");
}

#[tokio::test]
async fn manager_urls_that_cannot_be_asked_are_refused() {
    for (url, part) in [
        ("localhost:8080", "write http://host:port"),
        ("ftp://localhost", "has a scheme that managers do not speak"),
    ] {
        let text = gateway(url).start().await.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains(url), "{text}");
    }
}

#[tokio::test]
async fn one_own_url_without_the_other_is_refused() {
    let builder = Member::builder("eir").pod("a").provides("http", 1).advertise("127.0.0.1");
    let alone = builder.notification_url("http://127.0.0.1:1/notify").start().await.unwrap_err();
    assert!(alone.to_string().contains("give both, or none and use listen()"), "{alone}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let gateway = gateway("http://127.0.0.1:1").listen(address.to_string());
    let error = gateway.start().await.unwrap_err();
    assert!(matches!(error, Error::PortInUse { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address} for notifications: the port is in use; stop the program \
             that uses it, or give another port with listen(), 0 for any that is free"
        )
    );
}

#[tokio::test]
async fn an_address_of_another_machine_is_named_with_the_cure() {
    // TEST-NET-1 (RFC 5737): binding fails at once, nothing is sent.
    let gateway = gateway("http://127.0.0.1:1").listen("192.0.2.1:0");
    let text = gateway.start().await.unwrap_err().to_string();
    assert!(text.starts_with("cannot listen on 192.0.2.1:0"), "{text}");
    assert!(text.ends_with("give an address of this machine with listen()"), "{text}");
}

#[tokio::test]
async fn what_the_manager_refuses_is_told_in_its_words_and_tried_again_slowly() {
    let manager = Fake::start("a");
    manager.set(Mood::Refusing("/subscriptions/0 is not to my taste: choose another"));
    let member = gateway(&manager.url()).start().await.unwrap();
    let text = member.registered().await.unwrap_err().to_string();
    let url = manager.url();
    assert_eq!(
        text,
        format!(
            "the manager at {url} refuses with status 400: /subscriptions/0 is not to my taste: \
             choose another"
        )
    );
    assert_eq!(member.standing().phase, Phase::Stuck);
    manager.set(Mood::Serving);
    eventually("it tried again", || member.standing().phase == Phase::Registered).await;
}

#[tokio::test]
async fn a_manager_with_a_newer_contract_is_named_with_its_version() {
    let manager = Fake::start("a");
    for strange in ["{\"registration\":{\"id\":\"x\"}}", "not even JSON", "[]"] {
        manager.set(Mood::Strange(strange.to_owned()));
        let member = gateway(&manager.url()).start().await.unwrap();
        let text = member.registered().await.unwrap_err().to_string();
        for part in [
            concat!(
                "governance-client ",
                env!("CARGO_PKG_VERSION"),
                " does not understand the manager at"
            ),
            "(governance-manager 9.9.9)",
            "the answer to POST /register has another shape",
            "update governance-client if the manager is newer, or check that the URL",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert_eq!(member.standing().phase, Phase::Stuck);
    }
}

#[tokio::test]
async fn something_that_is_no_manager_is_called_so() {
    // A member's own listener: it answers, but has no /register.
    let other = gateway("http://127.0.0.1:1").start().await.unwrap();
    let url = format!("http://{}", other.listens_on().unwrap());
    let member = gateway(&url).start().await.unwrap();
    let text = member.registered().await.unwrap_err().to_string();
    assert!(text.contains("(an unknown program): POST /register is answered 404"), "{text}");
    assert!(text.contains("check that the URL is that of a governance manager"), "{text}");
}
