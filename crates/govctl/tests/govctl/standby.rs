//! Several managers: the active one is found, whoever is asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use crate::scene::{CLOSED, Scene, compare, document, govctl, note};

/// Answers everything as a standby does; its thread ends with the test's process.
fn standby(active: Option<&str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    answer_all(listener, active);
    address
}

fn answer_all(listener: TcpListener, active: Option<&str>) {
    let detail = "another manager is active";
    let problem = json!({"type": "about:blank", "title": "Service Unavailable", "status": 503,
        "detail": detail, "request_id": "r-1", "error": "not_active", "message": detail,
        "active": active});
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, body) = (stream.unwrap(), problem.to_string());
            // Whoever connects and says nothing holds nobody else up.
            std::thread::spawn(move || answer(stream, &body));
        }
    });
}

fn answer(mut stream: TcpStream, body: &str) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| !line.unwrap_or_default().is_empty()) {}
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    // Whoever is gone needs no answer.
    let _ = stream.write_all(answer.as_bytes());
}

#[test]
fn a_standby_leads_to_the_active_one() {
    let scene = Scene::new(|builder| builder);
    let pod = scene.fleet.pod("p1").unwrap();
    let leads = format!("http://{}", standby(Some(&scene.manager.address().to_string())));
    let body = document(&pod, "eir", &json!([])).to_string();
    let ran = govctl(&["register", "-f", "-", "-m", &leads], &[], &body);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = govctl(&["pods", "-o", "name", "-m", &leads], &[], "");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "eir/p1\n"), "{ran:?}");
    let ran = govctl(
        &["watch", "--since", "4294967296", "--count", "1", "-o", "name", "-m", &leads],
        &[],
        "",
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "eir/p1\n"), "{ran:?}");
}

#[test]
fn of_several_managers_the_one_that_answers_is_asked() {
    let scene = Scene::new(|builder| builder);
    let pod = scene.fleet.pod("p1").unwrap();
    scene.register(&pod, "eir", &json!([]));
    let silent = standby(None);
    let list = format!("http://{CLOSED},http://{silent},{}", scene.url());
    let ran = govctl(&["pods", "-o", "name"], &[("GOVERNANCE_URL", &list)], "");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "eir/p1\n"), "{ran:?}");
    let mut transcript = String::new();
    let list = format!("http://{CLOSED},http://{silent}");
    for words in [&["services"][..], &["unregister", "eir", "p1"], &["watch"]] {
        note(&mut transcript, words, &govctl(words, &[("GOVERNANCE_URL", &list)], ""));
    }
    compare("nobody-active", &transcript);
}

#[test]
fn standbys_that_name_one_another_do_not_keep_it_busy() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, second) =
        (first.local_addr().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let other = second.local_addr().unwrap();
    answer_all(first, Some(&other.to_string()));
    answer_all(second, Some(&address.to_string()));
    let list = format!("http://{address}");
    for words in [&["services"][..], &["watch"]] {
        let ran = govctl(words, &[("GOVERNANCE_URL", &list)], "");
        assert_eq!(ran.code, Some(5), "{ran:?}");
    }
}

#[test]
fn a_token_is_not_sent_in_clear_text_to_another_machine() {
    const TOKEN: (&str, &str) = ("GOVERNANCE_TOKEN", "0123456789abcdef0123456789abcdef");
    let scene = Scene::new(|builder| builder);
    let port = scene.manager.address().port();
    // A name that is this machine's for the system, but not for whoever reads it.
    let elsewhere = format!("http://127.1:{port}");
    let mut transcript = String::new();
    let type_in = |transcript: &mut String, words: &[&str]| {
        note(transcript, words, &govctl(words, &[TOKEN], ""));
    };
    type_in(&mut transcript, &["services", "-m", &elsewhere]);
    type_in(&mut transcript, &["services", "-m", &format!("{},{elsewhere}", scene.url())]);
    type_in(&mut transcript, &["services", "-m", &elsewhere, "--plain-token"]);
    let ran = govctl(&["services", "-m", &scene.url()], &[TOKEN], "");
    assert_eq!(ran.code, Some(0), "this machine is no other one: {ran:?}");
    let ran = govctl(&["services", "-m", &elsewhere], &[], "");
    assert_eq!(ran.code, Some(0), "without a token there is nothing to tell: {ran:?}");
    // Nor where a standby leads.
    let leads = format!("http://{}", standby(Some(&format!("127.1:{port}"))));
    for words in [&["services", "-m", &leads][..], &["watch", "-m", &leads]] {
        type_in(&mut transcript, words);
    }
    let ran = govctl(&["services", "-m", &leads, "--plain-token"], &[TOKEN], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!transcript.contains(TOKEN.1), "{transcript}");
    compare("clear-text", &transcript);
}
