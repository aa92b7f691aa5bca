//! The program: arguments in, exit code out. Everything else is in the library.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use governance_manager::config::{self, Config, EffectiveText, Invocation};
use governance_manager::{access, start, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// A registration is a few dozen small allocations that die young, on several threads; measured
/// against the C library's allocator this one saves about a tenth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage or configuration (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// The most that is read of a token.
const TOKEN_READ_MAX: u64 = 8 * 1024;

fn main() -> ExitCode {
    match config::invocation(std::env::args_os(), std::env::vars_os()) {
        Ok(Invocation::Print(text)) => print(&text),
        Ok(Invocation::PrintOpenApi) => print(&governance_manager::http::openapi_document()),
        Ok(Invocation::HashToken(beginning)) => match hash_token(&beginning) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::from(EXIT_USAGE)
            }
        },
        Ok(Invocation::Run(config, text)) => match run(*config, &text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                if is_setting(&error) { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
            }
        },
        Err(error) => {
            say(&error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reads a token from stdin and prints its line.
fn hash_token(beginning: &str) -> anyhow::Result<()> {
    let mut token = Vec::new();
    std::io::stdin().lock().take(TOKEN_READ_MAX).read_to_end(&mut token)?;
    let line = access::hashed_line(beginning, &token).map_err(anyhow::Error::msg)?;
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(())
}

fn run(config: Config, text: &EffectiveText) -> anyhow::Result<()> {
    let _logging = telemetry::logging::start(&config.log)?;
    info!(chosen = text.chosen, all = text.all, "effective configuration");
    for warning in &config.warnings {
        warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut running = start(config).await?;
        tokio::select! {
            end = running.failed() => return end,
            name = next(&mut signals) => info!(signal = name, "stopping; a second signal ends at once"),
        }
        tokio::select! {
            end = running.stop() => end,
            name = next(&mut signals) => {
                warn!(signal = name, "ending at once");
                std::process::exit(1)
            }
        }
    })
}

async fn next((terminate, interrupt): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// What failed, why, and what to do.
fn complain(error: &anyhow::Error) {
    say(&format_args!("error: {error}"));
    for cause in error.chain().skip(1) {
        say(&format_args!("  caused by: {cause}"));
    }
    let hint = error
        .downcast_ref::<governance_manager::StartError>()
        .and_then(governance_manager::StartError::hint);
    if let Some(hint) = hint {
        say(&format_args!("  hint: {hint}"));
    }
}

/// Whether a setting names a file that is no good: as wrong as any other value.
fn is_setting(error: &anyhow::Error) -> bool {
    use governance_manager::StartError;
    let error = error.downcast_ref::<StartError>();
    error.is_some_and(|error| matches!(error, StartError::Access(_) | StartError::Trust(_)))
}

/// A line on standard error, if somebody takes it: it may be closed, or its disk full.
fn say(line: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
