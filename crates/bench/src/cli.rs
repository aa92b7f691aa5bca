//! The command line: what can be measured, how, and against which manager.
//!
//! Only parsing and the checks that need nothing but the arguments. Invariant: an address that is
//! not this machine's loopback never gets past here, so no load is ever sent to anybody else.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::{farm::Shares, workload::ChangedField};

/// Measures a governance manager beside a bare server of the same answers, in one run.
#[derive(Debug, Parser)]
#[command(name = "governance-bench", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Durable registrations: random pods register again, always with new content.
    Register(RegisterOptions),
    /// Reads of random services.
    Read(ReadOptions),
    /// Start of a filled and of an empty manager: time until ready, memory, rows found.
    Restart(RestartOptions),
    /// Notifications of one change to many subscribers, also badly behaved ones.
    Fanout(FanoutOptions),
    /// Health checks of many pods: how late they begin, what they cost, how soon a death shows.
    Health(HealthOptions),
    /// Registrations without watchers and with them, in turns.
    Watch(WatchOptions),
    /// Questions to an audit of millions of entries, before and after its blocks have digests.
    Audit(AuditOptions),
    /// The ceiling, as the other commands start it.
    #[command(hide = true)]
    Bare(BareOptions),
    /// The subscribers, as `fanout` starts them.
    #[command(hide = true)]
    Farm(FarmOptions),
    /// The pods, as `health` starts them.
    #[command(hide = true)]
    Pods(PodsOptions),
    /// A minimal client that checks pods, as `health` starts it.
    #[command(hide = true)]
    Ask(AskOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RegisterOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// What is new in each registration.
    #[arg(long, value_enum, default_value = "provider")]
    pub(crate) change: ChangedField,
}

#[derive(Debug, Args)]
pub(crate) struct ReadOptions {
    #[command(flatten)]
    pub(crate) load: LoadOptions,
}

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// Watchers of a service in which nothing happens.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(0..=5_000))]
    pub(crate) quiet: u32,
    /// Watchers of everything.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=1_000))]
    pub(crate) unfiltered: u32,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
}

#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    /// Pods in the registry.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pods: u32,
    #[command(flatten)]
    pub(crate) fleet: FleetOptions,
    /// Connections with one request in flight each.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Length of a measured round.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Seconds of load before each round that do not count.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) warm_up: Duration,
    /// Rounds per contender, in turns; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Also measure a manager with `--large-pods` and compare the CPU per request.
    #[arg(long, conflicts_with = "url")]
    pub(crate) scale: bool,
    /// Pods in the larger registry of `--scale`.
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) large_pods: u32,
    #[command(flatten)]
    pub(crate) manager: ManagerOptions,
    /// Use a running manager, `http://127.0.0.1:PORT`; its registry is changed. Loopback only.
    #[arg(long, value_parser = loopback_url, conflicts_with_all = ["manager_bin", "data_dir"])]
    pub(crate) url: Option<SocketAddr>,
    /// The process of the manager at `--url`, to read its CPU time and memory.
    #[arg(long, requires = "url")]
    pub(crate) pid: Option<u32>,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

#[derive(Debug, Args)]
pub(crate) struct RestartOptions {
    /// Pods in the registry.
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pods: u32,
    #[command(flatten)]
    pub(crate) fleet: FleetOptions,
    /// Connections that fill the registry.
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Starts of each kind; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) manager: ManagerOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

#[derive(Debug, Args)]
pub(crate) struct AuditOptions {
    /// Entries of the audit.
    #[arg(long, default_value_t = 10_000_000, value_parser = value_parser!(u32).range(10_000..=100_000_000))]
    pub(crate) entries: u32,
    /// Pods that they tell of.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(20..=1_000_000))]
    pub(crate) pods: u32,
    /// Pages per question; medians are reported.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Where the audit is kept; memory keeps too few.
    #[arg(long, value_enum, default_value = "sqlite")]
    pub(crate) store: StoreKind,
    /// Where the data goes: a new directory in there, removed afterwards; PostgreSQL's goes to the
    /// system's temporary directory [default: that].
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

#[derive(Debug, Args)]
pub(crate) struct FanoutOptions {
    /// Subscribers of one service.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) subscribers: u32,
    /// Changes, each followed by the bare client; medians are reported.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Subscribers that answer after 4.9 s, in every other round of a second part.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow: u32,
    /// Subscribers that answer 500.
    #[arg(long, default_value_t = 0)]
    pub(crate) failing: u32,
    /// Subscribers that never answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) hanging: u32,
    /// Also 1,000 pods of the service that register within 10 s.
    #[arg(long)]
    pub(crate) storm: bool,
    #[command(flatten)]
    pub(crate) manager: ManagerOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

impl FanoutOptions {
    /// How many subscribers behave badly in the second part; never all of them.
    pub(crate) fn shares(&self) -> Shares {
        let most = self.subscribers - 1;
        let hanging = self.hanging.min(most);
        let failing = self.failing.min(most - hanging);
        let slow = self.slow.min(most - hanging - failing);
        Shares { hanging, failing, slow }
    }
}

#[derive(Debug, Args)]
pub(crate) struct HealthOptions {
    /// Pods that are checked.
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pods: u32,
    /// Seconds between two checks of one pod.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub(crate) interval: Duration,
    /// Length of the measurement; three intervals or more give sensible figures.
    #[arg(long, default_value = "95", value_parser = seconds)]
    pub(crate) seconds: Duration,
    #[command(flatten)]
    pub(crate) shares: PodShares,
    /// Pods of a service of their own that die after the measurement, and come back.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(0..=1_000))]
    pub(crate) deaths: u32,
    /// Pairs of measurements, without the bad shares and with them, of what the others feel.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=99))]
    pub(crate) pairs: u32,
    #[command(flatten)]
    pub(crate) manager: ManagerOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// How many pods misbehave how; all others answer 200 at once.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct PodShares {
    /// Pods that swallow every connection.
    #[arg(long, default_value_t = 0)]
    pub(crate) black_hole: u32,
    /// Pods on whose port nobody listens.
    #[arg(long, default_value_t = 0)]
    pub(crate) refusing: u32,
    /// Pods that accept and never answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) hanging: u32,
    /// Pods that answer after two seconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow: u32,
    /// Pods that answer 200 and 503 in turns of forty seconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) flapping: u32,
}

#[derive(Debug, Args)]
pub(crate) struct PodsOptions {
    #[arg(long)]
    pub(crate) pods: u32,
    #[command(flatten)]
    pub(crate) shares: PodShares,
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AskOptions {
    /// May be given several times.
    #[arg(long)]
    pub(crate) port: Vec<u16>,
    #[arg(long)]
    pub(crate) first: u32,
    #[arg(long)]
    pub(crate) pods: u32,
    #[arg(long)]
    pub(crate) per_second: u32,
    #[arg(long)]
    pub(crate) seconds: u32,
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FleetOptions {
    /// Pods of each service.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) pods_per_service: u32,
    /// Other services that each pod subscribes to.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=256))]
    pub(crate) subscriptions: u32,
    /// What a health check of a pod meets.
    #[arg(long, value_enum, default_value = "refuse")]
    pub(crate) health: HealthTarget,
}

#[derive(Debug, Args)]
pub(crate) struct ManagerOptions {
    /// The manager's program [default: `governance-manager` beside this one].
    #[arg(long)]
    pub(crate) manager_bin: Option<PathBuf>,
    /// Where the manager's data goes: a new directory in there, removed afterwards
    /// [default: the system's temporary directory].
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// The manager's storage.
    #[arg(long, value_enum, default_value = "sqlite")]
    pub(crate) store: StoreKind,
    /// The manager's log level.
    #[arg(long, default_value = "info")]
    pub(crate) log_level: String,
}

#[derive(Debug, Args)]
pub(crate) struct OutputOptions {
    /// Print one JSON document instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit 1 when a target is missed.
    #[arg(long)]
    pub(crate) check: bool,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u16).range(1..=64))]
    pub(crate) threads: u16,
}

#[derive(Debug, Args)]
pub(crate) struct BareOptions {
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    #[arg(long, default_value_t = 10)]
    pub(crate) pods_per_service: u32,
    /// A JSON object: the body of `GET /services/{service}` by service.
    #[arg(long)]
    pub(crate) answers: Option<PathBuf>,
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FarmOptions {
    #[arg(long)]
    pub(crate) subscribers: u32,
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Sqlite,
    Memory,
    Postgres,
}

impl StoreKind {
    /// As the manager's `STORAGE` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Memory => "memory",
            Self::Postgres => "postgres",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HealthTarget {
    /// A port on which nothing listens: the cheapest check, but each pod is checked repeatedly.
    Refuse,
    /// A server that answers 200: one check per change, but its CPU time is taken from the manager.
    Answer,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.0..=3600.0).contains(&seconds) {
        return Err("must be between 0 and 3600".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// `http://127.0.0.1:PORT`, `http://[::1]:PORT` or `http://localhost:PORT`; names are not resolved.
fn loopback_url(text: &str) -> Result<SocketAddr, String> {
    let rest = text.strip_prefix("http://").ok_or("must begin with http://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let address = match rest.strip_prefix("localhost:") {
        Some(port) => {
            let port = port.parse().map_err(|_| "the port is no number".to_owned())?;
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
        }
        None => rest.parse().map_err(|_| "must be an IP address and a port".to_owned())?,
    };
    if address.ip().is_loopback() && address.port() != 0 {
        Ok(address)
    } else {
        Err("only a manager on this machine's loopback address is measured".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, error::ErrorKind};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn loopback_addresses_are_taken() {
        for (text, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://127.9.9.9:1/", "127.9.9.9:1"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://localhost:81", "127.0.0.1:81"),
        ] {
            assert_eq!(loopback_url(text), Ok(address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn every_other_address_is_refused() {
        for text in [
            "http://10.0.0.1:8080",
            "http://0.0.0.0:8080",
            "http://[::]:8080",
            "http://[::ffff:10.0.0.1]:80",
            "http://example.org:80",
            "http://localhost.example.org:80",
            "http://127.0.0.1:80@10.0.0.1:80",
            "https://127.0.0.1:80",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "127.0.0.1:80",
        ] {
            assert!(loopback_url(text).is_err(), "{text}");
        }
        let arguments = ["governance-bench", "read", "--url", "http://10.0.0.1:80"];
        let error = Arguments::try_parse_from(arguments).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
    }

    #[test]
    fn a_running_manager_cannot_be_scaled() {
        let arguments = ["governance-bench", "register", "--url", "http://127.0.0.1:1", "--scale"];
        assert!(Arguments::try_parse_from(arguments).is_err());
    }

    #[test]
    fn seconds_may_have_a_fraction_and_are_bounded() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["-1", "NaN", "inf", "3601", "5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
