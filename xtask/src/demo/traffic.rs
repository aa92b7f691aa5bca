//! The clients: a steady rate of questions over HTTP and over S13, on kept connections.
//!
//! A client knows both HTTP gateways and, as any load balancer would, asks the other when one does
//! not answer; only what neither answers counts as failed. Every answer is checked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, Places};
use super::script::pause;
use super::web::Web;

/// Requests a second, half of them over each way.
pub(crate) const RATE: u32 = 500;
/// Clients per way.
const CLIENTS: u32 = 16;
/// How long one gateway may take.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// One way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Diameter,
}

impl Way {
    /// In the order of [`Shared::lanes`].
    pub(crate) const ALL: [Self; 2] = [Self::Http, Self::Diameter];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Diameter => "S13",
        }
    }
}

/// What became of the questions of one way.
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Asked at the other gateway.
    pub(crate) repeated: AtomicU64,
    /// The longest of the current second, in milliseconds.
    pub(crate) slowest_ms: AtomicU64,
    /// What failed first, for the verdict.
    pub(crate) first_failure: Mutex<Option<String>>,
}

/// What is known of the requests that one register answered over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// When the first of them was answered.
    pub(crate) first_answered: Instant,
    /// When the last of them began.
    pub(crate) last_began: Instant,
}

/// What clients and lookers-on share.
#[derive(Default)]
pub(crate) struct Shared {
    stop: AtomicBool,
    http: Lane,
    diameter: Lane,
    /// By register and gateway.
    served: Mutex<BTreeMap<(String, String), Served>>,
}

impl Shared {
    pub(crate) fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Http => &self.http,
            Way::Diameter => &self.diameter,
        }
    }

    /// What a register answered through a gateway, if it did.
    pub(crate) fn served(&self, register: &str, gateway: &str) -> Option<Served> {
        self.table().get(&(register.to_owned(), gateway.to_owned())).copied()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<(String, String), Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clients.
pub(crate) struct Traffic {
    pub(crate) shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts them.
    pub(crate) fn start(fleet: &Fleet) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = Vec::new();
        for way in Way::ALL {
            for number in 0..CLIENTS {
                let (shared, places) = (Arc::clone(&shared), Arc::clone(&fleet.places));
                let client = Client { way, number, shared, places, webs: BTreeMap::new() };
                clients.push(std::thread::spawn(move || client.run()));
            }
        }
        Self { shared, clients }
    }

    /// Ends them; what became of the questions.
    pub(crate) fn stop(self) -> Arc<Shared> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            // A client that broke shows in the numbers.
            let _ = client.join();
        }
        self.shared
    }
}

struct Client {
    way: Way,
    number: u32,
    shared: Arc<Shared>,
    places: Places,
    /// Kept connections by gateway.
    webs: BTreeMap<String, Web>,
}

impl Client {
    fn run(mut self) {
        let period = Duration::from_secs(1) * CLIENTS * 2 / RATE;
        let mut next = Instant::now() + period * self.number / CLIENTS;
        let mut round = self.number;
        while !self.shared.stop.load(Ordering::Relaxed) {
            pause(next.saturating_duration_since(Instant::now()));
            // Who is late asks at once, but does not make up for more than a second.
            next = (next + period)
                .max(Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or(next));
            self.ask(round);
            round = round.wrapping_add(1);
        }
    }

    fn ask(&mut self, round: u32) {
        let (prefix, status) = match round % 3 {
            0 => ("35209900", "WHITELISTED"),
            1 => ("35209901", "BLACKLISTED"),
            _ => ("35209902", "GREYLISTED"),
        };
        let imei = format!("{prefix}{:06}", round % 1_000_000);
        let path = match self.way {
            Way::Http => format!("/n5g-eir-eic/v1/equipment-status?pei=imei-{imei}0"),
            Way::Diameter => format!("/imei/{imei}/status?via=diameter"),
        };
        let expected = format!("\"status\":\"{status}\"");
        let began = Instant::now();
        let mut failure = "there is no gateway".to_owned();
        for (attempt, (gateway, address)) in self.gateways(round).into_iter().enumerate() {
            if attempt > 0 {
                self.lane().repeated.fetch_add(1, Ordering::Relaxed);
            }
            match self.ask_gateway(&gateway, address, &path, &expected) {
                Ok(register) => return self.answered(began, &gateway, register),
                Err(fault) => failure = format!("{gateway}: {fault}"),
            }
        }
        let lane = self.lane();
        lane.failed.fetch_add(1, Ordering::Relaxed);
        let mut first = lane.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
    }

    /// Both gateways, whose turn it is first.
    fn gateways(&self, round: u32) -> Vec<(String, SocketAddr)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let gateways = places.iter().filter(|(name, _)| name.starts_with("http-gw"));
        let mut gateways: Vec<_> =
            gateways.map(|(name, address)| (name.clone(), *address)).collect();
        // Two thirds of the questions differ in parity from their kind.
        if (round / 3) % 2 == 1 {
            gateways.reverse();
        }
        gateways
    }

    fn ask_gateway(
        &mut self,
        gateway: &str,
        address: SocketAddr,
        path: &str,
        expected: &str,
    ) -> Result<Option<String>, String> {
        let web =
            self.webs.entry(gateway.to_owned()).or_insert_with(|| Web::new(address, ANSWER_MAX));
        if web.address != address {
            *web = Web::new(address, ANSWER_MAX);
        }
        let answer = web.get(path).map_err(|fault| format!("{fault:#}"))?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        if !answer.body.contains(expected) {
            return Err(format!("{path}: not {expected} but {}", answer.body));
        }
        Ok(answer.served_by)
    }

    fn answered(&self, began: Instant, gateway: &str, register: Option<String>) {
        let lane = self.lane();
        lane.answered.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        lane.slowest_ms.fetch_max(took, Ordering::Relaxed);
        let Some(register) = register else { return };
        let now = Instant::now();
        let mut served = self.shared.table();
        let entry = served
            .entry((register, gateway.to_owned()))
            .or_insert(Served { first_answered: now, last_began: began });
        entry.last_began = entry.last_began.max(began);
    }

    fn lane(&self) -> &Lane {
        self.shared.lane(self.way)
    }
}
