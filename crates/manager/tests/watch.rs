//! Watching the real program over a socket: a change arrives at once, and the end of the program
//! waits for no watcher.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use governance_testkit::manager::ManagerProcess;
use serde_json::{Value, json};

/// For a machine that stands still. That a stream is ended, and not cut off after the time for
/// requests under way, is seen by its last event.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection on which events come.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(manager: &ManagerProcess, target: &str, last_event_id: &str) -> Self {
        let mut socket = TcpStream::connect(manager.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let id = format!("last-event-id: {last_event_id}\r\n");
        let id = if last_event_id.is_empty() { "" } else { &id };
        write!(socket, "GET {target} HTTP/1.1\r\nhost: manager\r\n{id}\r\n").unwrap();
        Self(BufReader::new(socket))
    }

    /// The data of the next event of this name, and its id. Chunk sizes lie between lines.
    fn next(&mut self, name: &str) -> (Value, String) {
        let (mut event, mut id) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended before {name}");
            match line.trim_end().split_once(": ") {
                Some(("event", text)) => text.clone_into(&mut event),
                Some(("id", text)) => text.clone_into(&mut id),
                Some(("data", text)) if event == name => {
                    return (serde_json::from_str(text).unwrap(), id);
                }
                _ => {}
            }
        }
    }

    fn is_at_its_end(&mut self) -> bool {
        let mut line = String::new();
        while matches!(self.0.read_line(&mut line), Ok(count) if count > 0) {}
        line.trim_end().ends_with("\r\n0") || line.trim() == "0"
    }
}

fn registration(pod: &str) -> Value {
    json!({
        "service_name": "eir", "pod_name": pod,
        "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": 1}],
        "health_check_url": "http://127.0.0.1:1/health",
        "notification_url": "http://127.0.0.1:1/notify",
    })
}

#[test]
fn changes_arrive_are_resumed_across_a_restart_of_the_watcher_and_end_with_the_program() {
    let mut manager = ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager")).start();
    let mut client = manager.client();
    let mut events = Events::open(&manager, "/watch?service_name=eir", "");
    assert_eq!(events.next("snapshot-begin").0["count"], 0);
    let (end, begun) = events.next("snapshot-end");
    assert_eq!(end["revision"].to_string(), begun);
    client.post("/register", &registration("a"));
    let (change, id) = events.next("change");
    assert_eq!((&change["type"], &change["pod"]["pod_name"]), (&json!("register"), &json!("a")));
    drop(events);
    client.post("/register", &registration("b"));
    let mut events = Events::open(&manager, "/watch", &id);
    loop {
        let (change, _) = events.next("change");
        if change["pod_name"] == "b" && change["type"] == "register" {
            break;
        }
        assert_eq!(change["type"], "update", "only checks may come between: {change}");
    }
    manager.sigterm();
    assert_eq!(events.next("end").0["error"], "shutting_down");
    assert!(events.is_at_its_end());
    assert!(manager.wait().success());
}

#[test]
fn a_registry_in_memory_is_not_taken_for_the_one_before_it() {
    let start = || {
        ManagerProcess::builder(env!("CARGO_BIN_EXE_governance-manager"))
            .set("STORAGE", "memory")
            .start()
    };
    let (before, id) = {
        let manager = start();
        manager.client().post("/register", &registration("a"));
        let mut events = Events::open(&manager, "/watch", "");
        (events.next("snapshot-begin").0["registry_id"].clone(), events.next("snapshot-end").1)
    };
    let manager = start();
    manager.client().post("/register", &registration("b"));
    let mut events = Events::open(&manager, "/watch", &id);
    let (begin, _) = events.next("snapshot-begin");
    assert_eq!(begin["count"], 1);
    assert_ne!(begin["registry_id"], before);
}
