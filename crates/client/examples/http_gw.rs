//! The HTTP gateway of the documentation: registers, listens for notifications, logs what changes,
//! and unregisters at the end.
//!
//! ```sh
//! cargo run -p governance-client --example http_gw -- http://localhost:8080
//! ```

use governance_client::{Change, Error, Member};
use tokio::signal::ctrl_c;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let manager = std::env::args().nth(1);
    let manager = manager.unwrap_or_else(|| "http://localhost:8080".to_owned());
    let gateway = start(&manager).await?;
    let mut changes = gateway.changes();
    loop {
        tokio::select! {
            _ = ctrl_c() => break,
            Some(change) = changes.next() => received(&change),
        }
    }
    gateway.shutdown().await?;
    Ok(())
}

/// Registers, and takes notifications on a port of its own.
pub async fn start(manager: &str) -> Result<Member, Error> {
    Member::builder("http-gw")
        .pod("http-gw-pod-1")
        .manager(manager)
        .provides("http", 8080)
        .listen("127.0.0.1:0")
        .subscribe("diam-gw")
        .subscribe("eir")
        .start()
        .await
}

/// Where a service updates its own routing.
pub fn received(change: &Change) {
    let pod = change.pod();
    tracing::info!("received notification: {} changed: {change:?}", pod.service());
}
