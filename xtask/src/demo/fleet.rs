//! All processes: a PostgreSQL and two managers (where there is no PostgreSQL, one manager with the
//! embedded store), two HTTP gateways, two Diameter gateways, two registers, all on 127.0.0.1.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::child::Child;
use super::database::Database;
use super::script::wait_until;
use super::web::Web;

/// How long everything may take to find each other.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long a look at a process may take.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// The types that registers know; the traffic asks for these.
const LIST: &str = "35209900* white\n35209901* black\n35209902* grey\n";

/// Which program a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    HttpGateway,
    DiameterGateway,
    Register,
}

impl Kind {
    /// The service's and the program's name.
    pub(crate) const fn service(self) -> &'static str {
        match self {
            Self::HttpGateway => "http-gw",
            Self::DiameterGateway => "diam-gw",
            Self::Register => "eir",
        }
    }
}

/// Where pods serve HTTP, for clients and lookers-on: by name.
pub(crate) type Places = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// The processes.
pub(crate) struct Fleet {
    programs: PathBuf,
    directory: PathBuf,
    /// Where each manager is, running or not.
    pub(crate) addresses: Vec<SocketAddr>,
    managers: BTreeMap<usize, Child>,
    pods: BTreeMap<String, Child>,
    pub(crate) places: Places,
    /// Last, so that it outlives those who use it.
    database: Option<Database>,
}

impl Fleet {
    /// Starts all and waits until requests are answered either way.
    pub(crate) fn start(root: &Path) -> Result<Self> {
        let target = root.join("target");
        let directory = target.join("demo");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("equipment.list"), LIST)?;
        let database = Database::start()?;
        if database.is_none() {
            eprintln!("PostgreSQL is not installed: one manager with the embedded store");
        }
        // Taken and given back: a manager must come back where it was.
        let taken = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let count = if database.is_some() { 2 } else { 1 };
        let addresses = taken.iter().take(count).map(TcpListener::local_addr);
        let addresses = addresses.collect::<std::io::Result<Vec<SocketAddr>>>()?;
        drop(taken);
        let mut fleet = Self {
            programs: target.join("debug"),
            directory,
            addresses,
            managers: BTreeMap::new(),
            pods: BTreeMap::new(),
            places: Places::default(),
            database,
        };
        fleet.start_managers()?;
        for (kind, number) in [
            (Kind::Register, 1),
            (Kind::Register, 2),
            (Kind::DiameterGateway, 1),
            (Kind::DiameterGateway, 2),
            (Kind::HttpGateway, 1),
            (Kind::HttpGateway, 2),
        ] {
            fleet.start_pod(kind, number)?;
        }
        fleet.wait_until_ready()?;
        Ok(fleet)
    }

    /// Starts the managers that do not run, again where they were and on what they stored.
    pub(crate) fn start_managers(&mut self) -> Result<()> {
        for (number, address) in (1..).zip(self.addresses.clone()) {
            if self.managers.contains_key(&number) {
                continue;
            }
            let name = format!("manager-{number}");
            let data = self.directory.join(&name).display().to_string();
            let (server, database) = (address.port().to_string(), self.database_port());
            let mut settings = vec![
                ("SERVER_HOST", "127.0.0.1"),
                ("SERVER_PORT", &*server),
                ("DATA_DIR", &*data),
                ("LOG_FORMAT", "json"),
                ("HEALTH_CHECK_INTERVAL", "1s"),
                ("HEALTH_CHECK_TIMEOUT", "500ms"),
                ("HEALTH_CHECK_RETRY", "1"),
            ];
            match &database {
                Some(port) => settings.extend([
                    ("STORAGE", "postgres"),
                    ("DB_HOST", "127.0.0.1"),
                    ("DB_PORT", port),
                ]),
                None => settings.push(("STORAGE", "sqlite")),
            }
            let child = self.child("governance-manager", &name, &settings)?;
            self.managers.insert(number, child);
        }
        Ok(())
    }

    fn database_port(&self) -> Option<String> {
        self.database.as_ref().map(|database| database.port.to_string())
    }

    /// The number of the manager that answers for the registry.
    pub(crate) fn active_manager(&self) -> Option<usize> {
        let is_active = |number: &usize| {
            let address = self.addresses.get(number - 1);
            address.is_some_and(|address| is_active(*address) == Some(true))
        };
        self.managers.keys().copied().find(is_active)
    }

    /// Kills one manager.
    pub(crate) fn kill_manager(&mut self, number: usize) -> Result<()> {
        self.managers.remove(&number).context("there is no such manager")?.kill()
    }

    /// Kills all managers.
    pub(crate) fn kill_managers(&mut self) -> Result<()> {
        let managers = std::mem::take(&mut self.managers);
        managers.into_values().try_for_each(Child::kill)
    }

    /// Starts a pod; a new process is a new registration.
    pub(crate) fn start_pod(&mut self, kind: Kind, number: u32) -> Result<String> {
        let service = kind.service();
        let name = format!("{service}-pod-{number}");
        let managers: Vec<String> =
            self.addresses.iter().map(|address| format!("http://{address}")).collect();
        let list = self.directory.join("equipment.list").display().to_string();
        let settings = [
            ("HTTP_HOST", "127.0.0.1"),
            ("HTTP_PORT", "0"),
            ("DIAMETER_PORT", "0"),
            ("DIAMETER_WATCHDOG", "6s"),
            ("POD_NAME", &name),
            ("GOVERNANCE_MANAGER_URL", &managers.join(",")),
            ("HEARTBEAT_INTERVAL", "2s"),
            ("DRAIN", "2s"),
            ("LOG_FORMAT", "json"),
            ("EIR_FILE", &list),
        ];
        let child = self.child(service, &name, &settings)?;
        self.places().insert(name.clone(), child.address("http")?);
        self.pods.insert(name.clone(), child);
        Ok(name)
    }

    /// The process of a pod, taken out of the fleet.
    pub(crate) fn take(&mut self, name: &str) -> Result<Child> {
        let child = self.pods.remove(name).with_context(|| format!("there is no {name}"))?;
        self.places().remove(name);
        Ok(child)
    }

    /// The process of a pod.
    pub(crate) fn pod(&self, name: &str) -> Result<&Child> {
        self.pods.get(name).with_context(|| format!("there is no {name}"))
    }

    /// The manager's view of a service: pod and status.
    pub(crate) fn registry(&self, service: &str) -> Result<Vec<(String, String)>> {
        registry(&self.addresses, service)
    }

    /// What a pod says at a path, as JSON.
    pub(crate) fn ask(&self, pod: &str, path: &str) -> Result<Value> {
        let address = self.places().get(pod).copied();
        ask(address.with_context(|| format!("there is no {pod}"))?, path)
    }

    /// Ends all, pods first; those that did not end well, or had ended before.
    pub(crate) fn stop(mut self) -> Vec<String> {
        let mut faults = Vec::new();
        let pods: Vec<Child> = std::mem::take(&mut self.pods).into_values().collect();
        end(pods, &mut faults);
        end(std::mem::take(&mut self.managers).into_values().collect(), &mut faults);
        faults
    }

    fn wait_until_ready(&self) -> Result<()> {
        let mut last = String::new();
        let is_ready = wait_until(READY_MAX, || {
            ["http-gw-pod-1", "http-gw-pod-2"].iter().all(|gateway| {
                ["http", "diameter"].iter().all(|via| {
                    let path = format!("/imei/35209900000000/status?via={via}");
                    let answer = self.ask(gateway, &path);
                    last = format!("{gateway} {via}: {answer:?}");
                    answer.is_ok_and(|answer| answer.get("status").is_some_and(Value::is_string))
                })
            })
        });
        ensure!(is_ready, "the fleet is not ready: {last}");
        Ok(())
    }

    fn child(&self, program: &str, name: &str, settings: &[(&str, &str)]) -> Result<Child> {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let log = self.directory.join(format!("{name}.log"));
        Child::start(&self.programs.join(program), name, &settings.collect(), &log)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, SocketAddr>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks all to end, then waits for each.
fn end(mut children: Vec<Child>, faults: &mut Vec<String>) {
    for child in &mut children {
        if child.has_ended() {
            faults.push(format!("{} had ended by itself", child.name));
        }
        child.signal(Signal::TERM);
    }
    for child in children {
        let name = child.name.clone();
        match child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => faults.push(format!("{name} ended with {status}")),
            Err(fault) => faults.push(format!("{fault:#}")),
        }
    }
}

/// The pods of a service and their status, by name, as the active manager says.
pub(crate) fn registry(managers: &[SocketAddr], service: &str) -> Result<Vec<(String, String)>> {
    let path = format!("/services/{service}");
    let answers = managers.iter().filter_map(|manager| ask(*manager, &path).ok());
    let mut lists = answers.filter_map(|body| body.get("pods").and_then(Value::as_array).cloned());
    let pods = lists.next().context("no manager answers")?;
    let text = |pod: &Value, key: &str| pod.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(pods.iter().filter_map(|pod| Some((text(pod, "pod_name")?, text(pod, "status")?))).collect())
}

/// Whether a manager answers for the registry; none if it does not answer at all.
pub(crate) fn is_active(manager: SocketAddr) -> Option<bool> {
    let answer = Web::new(manager, LOOK_MAX).get("/ready").ok()?;
    Some(answer.status == 200)
}

/// What is said at a path, as JSON.
pub(crate) fn ask(address: SocketAddr, path: &str) -> Result<Value> {
    let answer = Web::new(address, LOOK_MAX).get(path)?;
    Ok(serde_json::from_str(&answer.body)?)
}
