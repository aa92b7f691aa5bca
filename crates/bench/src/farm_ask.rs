//! A minimal client that checks pods: what a check costs when nothing is scheduled, remembered or
//! reported. The figure beside which the manager's is put.
//!
//! It asks at a steady pace, a connection each, with the same request as the manager; it connects
//! with tokio, speaks with hyper, and looks at nothing but the status. It runs in a process of its
//! own, so that its CPU time can be read.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    bare::end_with_parent,
    cli::AskOptions,
    farm_pods::{address_of, port_of_pod, raise_file_limit},
    process::{Usage, usage_of},
};

/// Checks are begun in steps of this length.
const STEP: Duration = Duration::from_millis(4);

/// What the client came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) checks: u64,
    pub(crate) failed: u64,
    pub(crate) first_fault: Option<String>,
    pub(crate) cpu_us_per_check: f64,
}

/// Runs the client as a child process.
pub(crate) async fn measure(
    ports: &[u16],
    pods: std::ops::Range<u32>,
    per_second: u32,
    seconds: u32,
) -> anyhow::Result<Asked> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = Command::new(program);
    command.args(["ask", "--until-stdin-closes"]);
    for (name, value) in [
        ("--first", pods.start),
        ("--pods", pods.end - pods.start),
        ("--per-second", per_second),
        ("--seconds", seconds),
    ] {
        command.args([name, &value.to_string()]);
    }
    for port in ports {
        command.args(["--port", &port.to_string()]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let output =
        tokio::task::spawn_blocking(move || command.spawn()?.wait_with_held_input()).await??;
    serde_json::from_slice(&output).context("the minimal client says nothing")
}

/// `wait_with_output` closes the input first, which would end the child.
trait HeldInput {
    fn wait_with_held_input(self) -> anyhow::Result<Vec<u8>>;
}

impl HeldInput for std::process::Child {
    fn wait_with_held_input(mut self) -> anyhow::Result<Vec<u8>> {
        let _input = self.stdin.take();
        let output = self.wait_with_output()?;
        if !output.status.success() {
            bail!("the minimal client ended with {}", output.status);
        }
        Ok(output.stdout)
    }
}

/// The child's side.
pub(crate) fn run(options: &AskOptions) -> anyhow::Result<()> {
    if options.until_stdin_closes {
        thread::spawn(end_with_parent);
    }
    raise_file_limit();
    let asked = tokio::runtime::Runtime::new()?.block_on(ask(options))?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &asked)?;
    out.flush()?;
    Ok(())
}

async fn ask(options: &AskOptions) -> anyhow::Result<Asked> {
    let before = usage()?;
    let start = Instant::now();
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut checks = JoinSet::new();
    let (mut begun, mut failed) = (0_u64, 0_u64);
    let mut first_fault = None;
    let total = u64::from(options.per_second) * u64::from(options.seconds);
    while begun < total {
        ticks.tick().await;
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wanted = (u64::from(options.per_second) * micros / 1_000_000).min(total);
        while begun < wanted {
            let step = u32::try_from(begun % u64::from(options.pods.max(1))).unwrap_or(0);
            let pod = options.first + step;
            checks.spawn(check(pod, port_of_pod(&options.port, pod)));
            begun += 1;
        }
        while let Some(done) = checks.try_join_next() {
            note(done, &mut failed, &mut first_fault);
        }
    }
    while let Some(done) = checks.join_next().await {
        note(done, &mut failed, &mut first_fault);
    }
    let used = usage()?.cpu.saturating_sub(before.cpu);
    #[expect(clippy::cast_precision_loss, reason = "far below 2⁵²")]
    let cpu_us_per_check = used.as_secs_f64() * 1e6 / begun.max(1) as f64;
    Ok(Asked { checks: begun, failed, first_fault, cpu_us_per_check })
}

fn note(
    done: Result<anyhow::Result<()>, JoinError>,
    failed: &mut u64,
    first_fault: &mut Option<String>,
) {
    let fault = match done {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => format!("{fault:#}"),
        Err(panic) => panic.to_string(),
    };
    *failed += 1;
    first_fault.get_or_insert(fault);
}

async fn check(pod: u32, port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::from((address_of(pod), port));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(format!("/p/{pod}"))
        .header("host", address.to_string())
        .header("user-agent", "minimal")
        .header("accept", "*/*")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // The whole answer came at once, and the connection is through with it.
        closed = connection => {
            closed?;
            answer.await
        }
    };
    let status = answer?.status();
    if !status.is_success() {
        bail!("status {status}");
    }
    Ok(())
}

fn usage() -> anyhow::Result<Usage> {
    usage_of(std::process::id())
}
