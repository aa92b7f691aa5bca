//! A service that runs axum anyway, with the three paths in its own application.
//!
//! ```sh
//! cargo run -p governance-client --features axum --example mounted -- http://localhost:8080
//! ```

use axum::Router;
use axum::routing::get;
use governance_client::Member;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let manager = std::env::args().nth(1);
    let manager = manager.unwrap_or_else(|| "http://localhost:8080".to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let member = Member::builder("eir")
        .pod("eir-pod-1")
        .manager(manager)
        .provides("http", port)
        .advertise("127.0.0.1")
        .health_check_url(format!("http://127.0.0.1:{port}/health"))
        .notification_url(format!("http://127.0.0.1:{port}/notify"))
        .start()
        .await?;
    let application = Router::new()
        .route("/", get(|| async { "an equipment identity register" }))
        .merge(member.receiver().router());
    let end = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, application).with_graceful_shutdown(end).await?;
    member.shutdown().await?;
    Ok(())
}
