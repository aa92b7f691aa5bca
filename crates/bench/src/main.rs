//! `governance-bench`: what a governance manager achieves, measured beside a bare server of the
//! same answers in the same run, because only ratios survive a change of machine.
//!
//! This file parses, runs and turns the outcome into an exit code: 0 good, 1 failed, 2 bad usage.

mod bare;
mod cli;
mod farm;
mod farm_ask;
mod farm_pods;
mod histogram;
mod load;
mod manager;
mod process;
mod report;
mod scenario;
mod wire;
mod workload;

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Arguments, Command, OutputOptions},
    report::progress,
};

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress(&format!("error: {error}"));
            error.chain().skip(1).for_each(|cause| progress(&format!("caused by: {cause}")));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<bool> {
    let output: &OutputOptions = match command {
        Command::Bare(options) => return bare::serve(options).map(|()| true),
        Command::Farm(options) => return farm::serve(options).map(|()| true),
        Command::Pods(options) => return farm_pods::serve(options).map(|()| true),
        Command::Ask(options) => return farm_ask::run(options).map(|()| true),
        Command::Health(options) => &options.output,
        Command::Fanout(options) => &options.output,
        Command::Register(options) => &options.load.output,
        Command::Read(options) => &options.load.output,
        Command::Watch(options) => &options.load.output,
        Command::Restart(options) => &options.output,
        Command::Audit(options) => &options.output,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(output.threads.into())
        .enable_all()
        .build()?;
    // A signal drops the scenario, and with it goes every child process.
    let report = runtime.block_on(async {
        tokio::select! {
            report = scenario::run(command) => report,
            stopped = asked_to_stop() => stopped.and_then(|()| bail!("interrupted")),
        }
    })?;
    report.print(output.json)?;
    Ok(report.is_good(output.check))
}

async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
