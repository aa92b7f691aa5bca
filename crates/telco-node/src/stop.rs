//! The end of a process: SIGTERM or Ctrl-C asks for it, a second signal does not wait.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels; the second ends the process with exit code 1.
///
/// # Errors
/// When the system gives no signals.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    let waiting = async move {
        for is_second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            if is_second {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(1);
            }
            tracing::info!("stopping; a second signal ends at once");
            told.cancel();
        }
    };
    // Lives as long as the process and has nothing to end.
    tokio::runtime::Handle::current().spawn(waiting);
    Ok(stop)
}
