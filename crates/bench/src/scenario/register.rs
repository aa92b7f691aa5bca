//! Durable registrations: every request changes a pod of a filled registry.

use crate::{
    bare,
    cli::{RegisterOptions, StoreKind},
    report::Report,
    scenario::{Ground, compete, load_verdicts},
    workload::{Pass, Registrations},
};

/// Wanted: registrations per second, against the ceiling.
const RATIO: f64 = 0.55;
/// The same where a database server shares the processors and is asked for every batch.
const RATIO_POSTGRES: f64 = 0.25;
/// Wanted: CPU per registration with the larger registry, against the smaller.
const COST: f64 = 1.25;

pub(super) async fn run(options: &RegisterOptions) -> anyhow::Result<Report> {
    let load = &options.load;
    let ground = Ground::prepare(load, options.change).await?;
    let (server, address) =
        bare::start(ground.home.path(), 1, load.fleet.pods_per_service, None).await?;
    let mut contenders = ground.contenders(&server, address)?;
    compete(&mut contenders, load, |fleet| {
        Registrations::deal(fleet, &ground.contents, load.connections, Pass::Endless)
    })
    .await?;
    let mut report = ground.report("register", load, contenders).await?;
    let ratio = match load.manager.store {
        StoreKind::Postgres => RATIO_POSTGRES,
        StoreKind::Sqlite | StoreKind::Memory => RATIO,
    };
    report.verdicts = load_verdicts(&report.loads, ratio, COST);
    Ok(report)
}
