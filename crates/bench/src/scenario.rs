//! The scenarios, and what they have in common: filled registries, contenders, rounds in turns.
//!
//! Invariants: contenders are measured alternately within a round, never at the same time; a
//! registry is filled without a single refusal, or nothing is measured.

mod audit;
mod fanout;
mod health;
mod read;
mod register;
mod restart;
mod storm;
mod watch;

use std::{net::SocketAddr, sync::Arc};

use anyhow::bail;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::{
    bare,
    cli::{Command, FleetOptions, HealthTarget, LoadOptions},
    load::{Round, Timing, exhaust, measure},
    manager::{Manager, new_directory},
    process::{Server, usage_of},
    report::{LoadResult, Medians, Report, Verdict, progress},
    workload::{ChangedField, Contents, Fleet, Pass, Registrations, Requests},
};

/// Runs what was asked for; dropping the future ends every child process.
pub(crate) async fn run(command: &Command) -> anyhow::Result<Report> {
    match command {
        Command::Register(options) => register::run(options).await,
        Command::Read(options) => read::run(&options.load).await,
        Command::Restart(options) => restart::run(options).await,
        Command::Fanout(options) => fanout::run(options).await,
        Command::Health(options) => health::run(options).await,
        Command::Watch(options) => watch::run(options).await,
        Command::Audit(options) => audit::run(options).await,
        Command::Bare(_) | Command::Farm(_) | Command::Pods(_) | Command::Ask(_) => {
            bail!("a part of a scenario is none")
        }
    }
}

/// Where the health checks of the pods go. Held as long as the managers run.
struct PodSide {
    base_url: String,
    /// Bound but not listening: connections are refused, and nobody else gets the port.
    _refusing: Option<TcpSocket>,
    _answering: Option<Server>,
}

impl PodSide {
    async fn open(health: HealthTarget, home: &TempDir) -> anyhow::Result<Self> {
        match health {
            HealthTarget::Refuse => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
                let base_url = format!("http://{}", socket.local_addr()?);
                Ok(Self { base_url, _refusing: Some(socket), _answering: None })
            }
            HealthTarget::Answer => {
                let (server, address) = bare::start(home.path(), 0, 0, None).await?;
                let base_url = format!("http://{address}");
                Ok(Self { base_url, _refusing: None, _answering: Some(server) })
            }
        }
    }

    fn fleet(
        &self,
        options: &FleetOptions,
        pods: u32,
        changed: ChangedField,
    ) -> anyhow::Result<Arc<Fleet>> {
        let FleetOptions { pods_per_service, subscriptions, .. } = *options;
        let pod_base_url = self.base_url.clone();
        let fleet = Fleet { pods, pods_per_service, subscriptions, pod_base_url, changed };
        if fleet.subscriptions >= fleet.services() && fleet.subscriptions > 0 {
            bail!("{subscriptions} subscriptions need more than {subscriptions} services");
        }
        Ok(Arc::new(fleet))
    }
}

/// A manager that holds a filled registry.
struct Registry {
    name: String,
    fleet: Arc<Fleet>,
    manager: Manager,
}

/// Registers every pod of the fleet once.
async fn fill(
    name: &str,
    manager: &Manager,
    fleet: &Arc<Fleet>,
    contents: &Arc<Contents>,
    connections: u32,
) -> anyhow::Result<()> {
    let sources = Registrations::deal(fleet, contents, connections, Pass::Once);
    let label = format!("{name}: filling");
    let counts = exhaust(manager.address, sources, fleet.pods, &label).await?;
    if counts.faults() > 0 || counts.succeeded != u64::from(fleet.pods) {
        let first = counts.first_fault.as_deref().unwrap_or("no answer");
        let filled = counts.succeeded;
        bail!("{name}: only {filled} of {} pods were registered; first: {first}", fleet.pods);
    }
    Ok(())
}

/// Everything that stands before the first round. Managers go before what they talk to.
struct Ground {
    registries: Vec<Registry>,
    contents: Arc<Contents>,
    _pods: PodSide,
    home: TempDir,
}

impl Ground {
    /// Starts or attaches the managers, fills them and waits until they are at rest.
    async fn prepare(options: &LoadOptions, changed: ChangedField) -> anyhow::Result<Self> {
        let home = new_directory(None)?;
        let pods = PodSide::open(options.fleet.health, &home).await?;
        let contents = Contents::new();
        let mut sizes = vec![options.pods];
        sizes.extend(options.scale.then_some(options.large_pods));
        let mut registries = Vec::new();
        for size in sizes {
            let name = format!("manager, {size} pods");
            let fleet = pods.fleet(&options.fleet, size, changed)?;
            let manager = match options.url {
                Some(address) => Manager::attach(address, options.pid).await?,
                None => Manager::start(&options.manager).await?.0,
            };
            fill(&name, &manager, &fleet, &contents, options.connections).await?;
            registries.push(Registry { name, fleet, manager });
        }
        for registry in &registries {
            registry.manager.rest(&registry.name).await?;
        }
        Ok(Self { registries, contents, _pods: pods, home })
    }

    /// The managers as contenders, behind the ceiling, which gets the first registry's requests.
    fn contenders(&self, bare: &Server, address: SocketAddr) -> anyhow::Result<Vec<Contender>> {
        let Some(first) = self.registries.first() else { bail!("there is no registry") };
        let mut contenders = vec![Contender {
            name: "bare axum handler".to_owned(),
            address,
            pid: Some(bare.pid()),
            fleet: Arc::clone(&first.fleet),
            rounds: Vec::new(),
        }];
        contenders.extend(self.registries.iter().map(|registry| Contender {
            name: registry.name.clone(),
            address: registry.manager.address,
            pid: registry.manager.pid,
            fleet: Arc::clone(&registry.fleet),
            rounds: Vec::new(),
        }));
        Ok(contenders)
    }

    /// Fills in rows and figures after the last round.
    async fn report(
        &self,
        scenario: &'static str,
        options: &LoadOptions,
        contenders: Vec<Contender>,
    ) -> anyhow::Result<Report> {
        let mut report = new_report(scenario, load_settings(options));
        for contender in contenders {
            report.loads.push(contender.into_result()?);
        }
        for registry in &self.registries {
            let rows = registry.manager.count_rows(registry.fleet.pods.into()).await?;
            report.add_rows(&registry.name, rows);
        }
        Ok(report)
    }
}

/// One of those that are compared.
struct Contender {
    name: String,
    address: SocketAddr,
    pid: Option<u32>,
    fleet: Arc<Fleet>,
    rounds: Vec<Round>,
}

impl Contender {
    fn into_result(self) -> anyhow::Result<LoadResult> {
        let usage = self.pid.map(usage_of).transpose()?;
        Ok(LoadResult {
            contender: self.name,
            median: Medians::of(&self.rounds),
            rss_bytes: usage.map(|usage| usage.rss_bytes),
            peak_bytes: usage.map(|usage| usage.peak_bytes),
            rounds: self.rounds,
        })
    }
}

/// All rounds, the contenders in turns; `sources` gives each its requests.
async fn compete<S: Requests>(
    contenders: &mut [Contender],
    options: &LoadOptions,
    sources: impl Fn(&Arc<Fleet>) -> Vec<S>,
) -> anyhow::Result<()> {
    let timing = Timing { warm_up: options.warm_up, measured: options.seconds };
    for round in 1..=options.rounds {
        for contender in &mut *contenders {
            let label = format!("round {round} of {}: {}", options.rounds, contender.name);
            progress(&label);
            let sources = sources(&contender.fleet);
            let measured =
                measure(contender.address, sources, timing, contender.pid, &label).await?;
            contender.rounds.push(measured);
        }
    }
    Ok(())
}

fn new_report(scenario: &'static str, settings: String) -> Report {
    Report {
        scenario,
        settings,
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        loads: Vec::new(),
        starts: Vec::new(),
        questions: Vec::new(),
        rows: Vec::new(),
        verdicts: Vec::new(),
        faults: Vec::new(),
    }
}

fn load_settings(options: &LoadOptions) -> String {
    let store = if options.url.is_some() { "as it runs" } else { options.manager.store.name() };
    format!(
        "{} connections, {} pods a service, {} subscriptions, health checks {:?}, store {store}, \
         {} rounds of {:?} after {:?}, {} load threads",
        options.connections,
        options.fleet.pods_per_service,
        options.fleet.subscriptions,
        options.fleet.health,
        options.rounds,
        options.seconds,
        options.warm_up,
        options.output.threads,
    )
}

/// Throughput of the first manager against the ceiling, that no answer failed, and with two
/// managers what a request costs in the larger registry.
fn load_verdicts(loads: &[LoadResult], ratio_bound: f64, cost_bound: f64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    if let [bare, small, ..] = loads {
        let ratio = small.median.requests_per_second / bare.median.requests_per_second;
        verdicts.push(Verdict::at_least("ratio", ratio, ratio_bound));
    }
    if let [_, small, large] = loads {
        let cost = |load: &LoadResult| load.median.cpu_us_per_request.unwrap_or(f64::NAN);
        let what = "CPU per request, larger against smaller registry";
        verdicts.push(Verdict::at_most(what, cost(large) / cost(small), cost_bound, ""));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵²")]
    let faults =
        loads.iter().flat_map(|load| &load.rounds).map(|round| round.counts.faults() as f64).sum();
    verdicts.push(Verdict::at_most("answers other than 200", faults, 0.0, ""));
    verdicts
}
