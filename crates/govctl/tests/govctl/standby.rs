//! Several managers: the active one is found, whoever is asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use crate::scene::{CLOSED, Scene, compare, document, govctl, note};

/// Answers everything as a standby does; its thread ends with the test's process.
fn standby(active: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let detail = "another manager is active";
    let problem = json!({"type": "about:blank", "title": "Service Unavailable", "status": 503,
        "detail": detail, "request_id": "r-1", "error": "not_active", "message": detail,
        "active": active.map(|active| active.to_string())});
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, body) = (stream.unwrap(), problem.to_string());
            // Whoever connects and says nothing holds nobody else up.
            std::thread::spawn(move || answer(stream, &body));
        }
    });
    address
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
    let leads = format!("http://{}", standby(Some(scene.manager.address())));
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
