//! Registered, and registered again without being told, whatever becomes of the manager; and never
//! twice at once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod fake;

use std::time::Duration;

use fake::{Fake, Mood, eventually, gateway, notification, phase, seen, summary};
use governance_client::{Member, Notifications, Phase, Provider, Status};
use http::Method;

const KEY: &str = "http-gw:http-gw-1";

#[tokio::test]
async fn a_pod_registers_and_lives_and_leaves_with_its_ids() {
    let manager = Fake::start("a");
    manager.book().fleet.insert("eir".to_owned(), vec![summary("eir-1", Status::Healthy)]);
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    assert_eq!(seen(&member), ["eir-1"]);
    let (id, request) = manager.book().pods[KEY].clone();
    let port = member.listens_on().unwrap().port();
    assert_eq!(request.notification_url, format!("http://127.0.0.1:{port}/notify"));
    assert_eq!(request.health_check_url, format!("http://127.0.0.1:{port}/health"));
    assert_eq!(request.providers, [Provider::new("http", "127.0.0.1", 8080)]);
    assert_eq!(request.instance_id, Some(member.instance_id()));
    assert_eq!(member.standing().registration_id, Some(id));
    eventually("heartbeats", || manager.count("heartbeat") > 3).await;
    let instance = member.instance_id();
    member.shutdown().await.unwrap();
    assert!(!manager.knows(KEY));
    let last = manager.book().asked.last().unwrap().clone();
    assert_eq!(last, format!("unregister Some(\"{id}\") {instance}"));
    assert_eq!(manager.book().most_registering, 1);
}

#[tokio::test]
async fn it_starts_without_a_manager_and_registers_when_there_is_one() {
    let address = Fake::start("a").die();
    let member = gateway(&format!("http://{address}")).start().await.unwrap();
    eventually("it says so", || member.standing().trouble.is_some()).await;
    let standing = member.standing();
    assert_eq!(standing.phase, Phase::Joining);
    let trouble = standing.trouble.unwrap();
    assert!(trouble.contains(&format!("no connection to the manager at http://{address}")));
    let manager = Fake::start_at(address, "a");
    member.registered().await.unwrap();
    assert!(manager.knows(KEY));
    assert_eq!(member.standing().trouble, None);
}

#[tokio::test]
async fn it_registers_again_when_the_manager_has_forgotten_it() {
    let manager = Fake::start("a");
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    for _ in 0..3 {
        manager.book().pods.clear();
        eventually("it is registered again", || manager.knows(KEY)).await;
    }
    assert_eq!(manager.book().most_registering, 1);
    phase(&member, Phase::Registered).await;
}

#[tokio::test]
async fn a_manager_that_dies_and_comes_back_empty_is_registered_with_again() {
    let manager = Fake::start("a");
    manager.book().fleet.insert("eir".to_owned(), vec![summary("eir-1", Status::Healthy)]);
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    let address = manager.die();
    phase(&member, Phase::Away).await;
    assert_eq!(seen(&member), ["eir-1"], "the view survives");
    assert!(member.view().pick_healthy("eir").is_some());
    let manager = Fake::start_at(address, "b");
    manager.book().fleet.insert("eir".to_owned(), vec![summary("eir-2", Status::Unknown)]);
    eventually("it is registered again", || manager.knows(KEY)).await;
    eventually("the view is the new manager's", || seen(&member) == ["eir-2"]).await;
    assert_eq!(member.view().registry_id().as_deref(), Some("b"));
    assert_eq!(manager.book().most_registering, 1);
}

#[tokio::test]
async fn a_manager_that_hangs_is_given_up_and_asked_again() {
    let manager = Fake::start("a");
    let patience = Duration::from_millis(150);
    let member = gateway(&manager.url()).request_timeout(patience).start().await.unwrap();
    member.registered().await.unwrap();
    manager.set(Mood::Hanging);
    phase(&member, Phase::Away).await;
    let trouble = member.standing().trouble.unwrap();
    assert!(trouble.ends_with("does not answer within 0.15 s"), "{trouble}");
    manager.book().pods.clear();
    manager.set(Mood::Serving);
    eventually("it is registered again", || manager.knows(KEY)).await;
    phase(&member, Phase::Registered).await;
}

#[tokio::test]
async fn a_hanging_manager_does_not_keep_it_from_another_one() {
    let (first, second) = (Fake::start("a"), Fake::start("a"));
    first.set(Mood::Hanging);
    let patience = Duration::from_millis(150);
    let member = gateway(&first.url()).manager(second.url()).request_timeout(patience);
    let member = member.start().await.unwrap();
    member.registered().await.unwrap();
    assert!(second.knows(KEY));
}

#[tokio::test]
async fn a_manager_without_its_database_is_asked_until_it_has_it_again() {
    let manager = Fake::start("a");
    manager.set(Mood::WithoutDatabase);
    let member = gateway(&manager.url()).start().await.unwrap();
    eventually("it tries again", || manager.count("register") > 3).await;
    let standing = member.standing();
    assert_eq!(standing.phase, Phase::Joining);
    assert!(standing.trouble.unwrap().contains("503"));
    manager.set(Mood::Serving);
    member.registered().await.unwrap();

    // Lost later, with what it held: heartbeats say that it knows nobody.
    manager.set(Mood::WithoutDatabase);
    manager.book().pods.clear();
    phase(&member, Phase::Away).await;
    manager.set(Mood::Serving);
    eventually("it is registered again", || manager.knows(KEY)).await;
    assert_eq!(manager.book().most_registering, 1);
}

#[tokio::test]
async fn an_outcome_that_nobody_knows_is_made_certain_by_registering_again() {
    let manager = Fake::start("a");
    manager.set(Mood::Doubting);
    let member = gateway(&manager.url()).start().await.unwrap();
    eventually("it tries again", || manager.count("register") > 3).await;
    assert_eq!(member.standing().phase, Phase::Joining);
    manager.set(Mood::Serving);
    member.registered().await.unwrap();
    assert_eq!(member.standing().registration_id, Some(1), "all of them were the same one");
    assert_eq!(manager.book().most_registering, 1);
}

#[tokio::test]
async fn a_registration_in_doubt_is_removed_at_the_end_too() {
    let manager = Fake::start("a");
    manager.set(Mood::Doubting);
    let member = gateway(&manager.url()).start().await.unwrap();
    eventually("it was applied", || manager.knows(KEY)).await;
    manager.set(Mood::Serving);
    member.shutdown().await.unwrap();
    assert!(!manager.knows(KEY));
}

#[tokio::test]
async fn errors_of_every_kind_end_in_a_registration() {
    let manager = Fake::start("a");
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    for (status, code) in
        [(503, "loading"), (500, "internal"), (504, "outcome_unknown"), (429, "service_full")]
    {
        manager.set(Mood::Failing(status, code));
        phase(&member, Phase::Away).await;
        manager.book().pods.clear();
        manager.set(Mood::Serving);
        eventually("it is registered again", || manager.knows(KEY)).await;
        phase(&member, Phase::Registered).await;
    }
    assert_eq!(manager.book().most_registering, 1);
}

#[tokio::test]
async fn a_standby_leads_to_the_active_one() {
    let (standby, active) = (Fake::start("a"), Fake::start("a"));
    standby.set(Mood::Standby(Some(active.address)));
    let member = gateway(&standby.url()).start().await.unwrap();
    member.registered().await.unwrap();
    assert!(active.knows(KEY));
    assert_eq!(member.standing().manager, active.url());

    // The active one dies, and the standby takes over.
    standby.set(Mood::Serving);
    active.die();
    eventually("it is registered with the other", || standby.knows(KEY)).await;
}

#[tokio::test]
async fn a_standby_that_knows_no_active_one_is_passed_over() {
    let (standby, active) = (Fake::start("a"), Fake::start("a"));
    standby.set(Mood::Standby(None));
    let member = gateway(&standby.url()).manager(active.url()).start().await.unwrap();
    member.registered().await.unwrap();
    assert!(active.knows(KEY));

    // They change places.
    active.set(Mood::Standby(Some(standby.address)));
    standby.set(Mood::Serving);
    eventually("it is registered with the other", || standby.knows(KEY)).await;
}

#[tokio::test]
async fn a_manager_that_was_replaced_and_knows_the_name_is_noticed_by_its_notifications() {
    let manager = Fake::start("a");
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    {
        let mut book = manager.book();
        book.registry_id = "b".to_owned();
        book.revision = 7;
        book.fleet.insert("eir".to_owned(), vec![summary("eir-9", Status::Healthy)]);
    }
    let body = notification("b", 8, &[summary("eir-9", Status::Healthy)]);
    let reply = member.receiver().answer(&Method::POST, "/notify", &body);
    assert_eq!(reply.status, 200);
    eventually("the view is the new registry's", || seen(&member) == ["eir-9"]).await;
    assert_eq!(member.view().registry_id().as_deref(), Some("b"));

    // What the old one sent and was late changes nothing, whatever its revision.
    let late = notification("a", u64::MAX, &[summary("eir-1", Status::Healthy)]);
    assert_eq!(member.receiver().answer(&Method::POST, "/notify", &late).status, 200);
    let registrations = member.standing().registrations;
    eventually("it asked", || member.standing().registrations > registrations).await;
    assert_eq!(seen(&member), ["eir-9"]);
}

#[tokio::test]
async fn a_changed_address_and_other_changes_are_registered() {
    let manager = Fake::start("a");
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    let port = member.listens_on().unwrap().port();
    member.set_address("localhost").unwrap();
    let url = format!("http://localhost:{port}/notify");
    let registered = || manager.book().pods[KEY].1.clone();
    eventually("the address", || registered().notification_url == url).await;
    assert_eq!(registered().providers, [Provider::new("http", "localhost", 8080)]);
    member.set_providers(vec![Provider::new("tcp", "127.0.0.9", 1).with_id("x")]).unwrap();
    eventually("the provider", || registered().providers[0].protocol == "tcp").await;
    manager.book().fleet.insert("diam-gw".to_owned(), vec![summary("d-1", Status::Healthy)]);
    member.set_subscriptions(vec!["diam-gw".into()]).unwrap();
    eventually("the subscription", || !member.view().pods("diam-gw").is_empty()).await;
    assert_eq!(member.view().revision("eir"), None, "no longer subscribed to");
    assert!(member.set_providers(Vec::new()).is_err());
    assert_eq!(manager.book().most_registering, 1);
}

#[tokio::test]
async fn a_successor_of_the_same_name_is_not_removed() {
    let manager = Fake::start("a");
    let first = gateway(&manager.url()).heartbeat(Duration::from_mins(1)).start().await.unwrap();
    first.registered().await.unwrap();
    let second = gateway(&manager.url()).heartbeat(Duration::from_mins(1)).start().await.unwrap();
    second.registered().await.unwrap();
    first.shutdown().await.unwrap();
    assert!(manager.knows(KEY));
    second.shutdown().await.unwrap();
    assert!(!manager.knows(KEY));
}

#[tokio::test]
async fn leaving_without_a_manager_ends_and_says_so() {
    let manager = Fake::start("a");
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    manager.set(Mood::Failing(503, "loading"));
    let (left, ()) = tokio::join!(member.leave(), async {
        eventually("it tries", || manager.count("unregister") > 2).await;
        manager.set(Mood::Serving);
    });
    left.unwrap();
    assert!(!manager.knows(KEY));
    assert_eq!(member.standing().phase, Phase::Left);

    // One that was never registered has nothing to wait for.
    let address = manager.die();
    let member = gateway(&format!("http://{address}")).start().await.unwrap();
    eventually("it says so", || member.standing().trouble.is_some()).await;
    member.shutdown().await.unwrap();
}

#[tokio::test]
async fn notifications_that_cannot_arrive_are_reported_with_the_url_and_the_cure() {
    let manager = Fake::start("a");
    manager.book().undelivered = Some("connection refused".to_owned());
    let member = gateway(&manager.url()).start().await.unwrap();
    member.registered().await.unwrap();
    let failing = || matches!(member.standing().notifications, Notifications::Failing(_));
    eventually("it is reported", failing).await;
    let Notifications::Failing(why) = member.standing().notifications else { unreachable!() };
    let port = member.listens_on().unwrap().port();
    let told = format!(
        "cannot deliver notifications to http://127.0.0.1:{port}/notify (connection refused)"
    );
    assert!(why.contains(&told) && why.contains("make that URL reachable"), "{why}");
    let body = notification("a", u64::MAX, &[]);
    member.receiver().answer(&Method::POST, "/notify", &body);
    let arriving = || member.standing().notifications == Notifications::Arriving;
    eventually("one came", arriving).await;
}

#[tokio::test]
async fn a_fleet_that_was_kept_is_known_at_a_cold_start_without_a_manager() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("view.json");
    let manager = Fake::start("a");
    manager.book().fleet.insert("eir".to_owned(), vec![summary("eir-1", Status::Healthy)]);
    let first = gateway(&manager.url()).keep_view_in(&file).start().await.unwrap();
    first.registered().await.unwrap();
    first.shutdown().await.unwrap();
    let address = manager.die();

    let member = gateway(&format!("http://{address}")).keep_view_in(&file).start().await.unwrap();
    assert_eq!(seen(&member), ["eir-1"]);
    assert_eq!(member.view().pick_healthy("eir").unwrap().port(), 9);
    assert_eq!(member.standing().phase, Phase::Joining);
    let manager = Fake::start_at(address, "b");
    member.registered().await.unwrap();
    assert!(seen(&member).is_empty(), "the new manager knows better");
    drop(manager);
}

#[tokio::test]
async fn an_address_that_nobody_gave_is_found_and_followed() {
    let (first, second) = (Fake::start("a"), Fake::start_at(fake::localhost_v6(), "a"));
    let member = Member::builder("http-gw")
        .pod("http-gw-1")
        .manager(first.url())
        .manager(second.url())
        .provides("http", 8080)
        // Answered by nobody: what is looked at is the provider's address.
        .health_check_url("http://127.0.0.1:1/health")
        .notification_url("http://127.0.0.1:1/notify")
        .heartbeat(Duration::from_millis(40))
        .start()
        .await
        .unwrap();
    member.registered().await.unwrap();
    let address = |manager: &Fake| manager.book().pods[KEY].1.providers[0].ip.clone();
    assert_eq!(address(&first), "127.0.0.1");
    first.die();
    eventually("it is registered with the other", || second.knows(KEY)).await;
    assert_eq!(address(&second), "::1");
}
