//! What a service author compiles along, as cargo tells it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, also in its helpers")]

use std::process::Command;

/// The names of all normal dependencies.
fn tree(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "governance-client", "--edges", "normal", "--prefix", "none"])
        .args(["--locked", "--offline", "--format", "{p}"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_user_compiles_no_server_framework_and_no_database_driver() {
    let names = tree(&[]);
    assert!(names.iter().any(|name| name == "hyper"), "{names:?}");
    let unwanted = |name: &&String| {
        let exact = [
            "axum",
            "rustls",
            "tower",
            "h2",
            "rusqlite",
            "libsqlite3-sys",
            "tokio-postgres",
            "clap",
        ];
        let is_ours = name.starts_with("governance-")
            && !["governance-client", "governance-api"].contains(&name.as_str());
        exact.contains(&name.as_str()) || is_ours
    };
    let found: Vec<_> = names.iter().filter(unwanted).collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(tree(&["--features", "axum"]).iter().any(|name| name == "axum"), "only when asked for");
    assert!(tree(&["--features", "tls"]).iter().any(|name| name == "rustls"), "likewise");
}
