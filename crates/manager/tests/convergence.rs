//! Random histories with the real program: pods come, change, fall ill and leave, subscribers fail
//! in every way, managers are killed, stopped and cut off from their database. What subscribers
//! wrote down is compared, outside of the manager, with what it answered to registrations: no body
//! says less or other than had been acknowledged when it was made, nobody hears what it did not ask
//! for, no revision goes back; and when the faults stop, everyone holds what the registry shows.
//!
//! `GOVERNANCE_TEST_SECONDS` makes the histories longer, `GOVERNANCE_TEST_SEED` others.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails, also in its helpers"
)]

mod postgres_common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use governance_testkit::fleet::{FakePod, Fleet, Health, Reception, Told};
use governance_testkit::http::{Answer, Client};
use governance_testkit::manager::{ManagerProcess, PATIENCE};
use governance_testkit::postgres::Cluster;
use governance_testkit::wait::until;
use postgres_common::{Gate, Random, manager, times};
use rustix::process::Signal;
use serde_json::{Value, json};

const SERVICES: [&str; 4] = ["eir", "diam-gw", "http-gw", "smf"];
const PODS: usize = 5;
/// The time that one step can take: `REQUEST_TIMEOUT`, and something for the way.
const STEP_MAX: Duration = Duration::from_secs(2);
/// A retry period, and a round of everything else.
const CONVERGENCE_MAX: Duration = Duration::from_secs(90);

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// In force from this revision on.
    Done(u64),
    /// Certainly not applied.
    Nothing,
    Unknown,
}

/// What a pod asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    port: u64,
    services: Vec<&'static str>,
}

/// One command, as its caller saw it.
#[derive(Clone, Debug)]
struct Deed {
    begun: Instant,
    /// None: it left.
    wish: Option<Wish>,
    outcome: Outcome,
}

struct Resident {
    service: &'static str,
    pod: FakePod,
    deeds: Vec<Deed>,
}

impl Resident {
    /// What may have been in force at a revision that somebody saw at a time: what was acknowledged
    /// last, and everything later whose effect is not known to lie behind that revision.
    fn possible(&self, revision: u64, at: Instant) -> Vec<Option<&Wish>> {
        let is_before = |deed: &Deed| matches!(deed.outcome, Outcome::Done(of) if of <= revision);
        let last = self.deeds.iter().rposition(is_before);
        let later = &self.deeds[last.map_or(0, |last| last + 1)..];
        let open = later.iter().filter(|deed| deed.begun <= at && deed.outcome == Outcome::Unknown);
        let known = last.map(|last| self.deeds[last].wish.as_ref());
        std::iter::once(known.flatten()).chain(open.map(|deed| deed.wish.as_ref())).collect()
    }
}

/// A manager with its own way to the database, and what is done to both.
struct Seat {
    gate: Gate,
    manager: Option<ManagerProcess>,
    cut_until: Option<Instant>,
    stopped_until: Option<Instant>,
}

impl Seat {
    fn manager(&self) -> &ManagerProcess {
        self.manager.as_ref().unwrap()
    }

    fn recover(&mut self, now: Instant) {
        if self.cut_until.is_some_and(|until| until <= now) {
            self.gate.proxy.clear();
            self.cut_until = None;
        }
        if self.stopped_until.is_some_and(|until| until <= now) {
            self.manager().signal(Signal::CONT);
            self.stopped_until = None;
        }
    }
}

struct World {
    seed: u64,
    random: Random,
    fleet: Fleet,
    residents: Vec<Resident>,
    seats: Vec<Seat>,
    /// The seat that answered last.
    current: usize,
    last_port: u64,
    /// Managers are left alone before, so that something comes about between two faults.
    calm_until: Instant,
    _cluster: Cluster,
}

impl World {
    fn new(managers: usize, seed: u64) -> Self {
        let cluster = Cluster::start().unwrap();
        let seats = (0..managers).map(|_| {
            let gate = Gate::before(&cluster);
            let manager = manager(gate.proxy.address)
                .set("REQUEST_TIMEOUT", "1s")
                .set("HEALTH_CHECK_INTERVAL", "300ms")
                .set("HEALTH_CHECK_TIMEOUT", "500ms")
                .set("HEALTH_CHECK_RETRY", "0")
                .set("NOTIFICATION_INTERVAL", "2s")
                .set("NOTIFICATION_TIMEOUT", "500ms")
                .launch();
            Seat { gate, manager: Some(manager), cut_until: None, stopped_until: None }
        });
        let seats = seats.collect();
        let fleet = Fleet::new().unwrap();
        let residents = SERVICES.iter().flat_map(|service| {
            let names = (0..PODS).map(move |number| format!("{service}-{number}"));
            let pods = names.map(|name| fleet.pod(&name).unwrap());
            pods.map(|pod| Resident { service, pod, deeds: Vec::new() })
        });
        let residents = residents.collect();
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut world = Self {
            seed,
            random,
            fleet,
            residents,
            seats,
            current: 0,
            last_port: 0,
            calm_until: Instant::now(),
            _cluster: cluster,
        };
        assert!(until(PATIENCE, || world.shown().is_some()), "{}", world.log());
        world
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn log(&self) -> String {
        let logs = self.seats.iter().map(|seat| seat.manager().log_text());
        format!("seed {}\n{}", self.seed, logs.collect::<Vec<_>>().join("\n\n"))
    }

    /// Sends a command to whoever may be active.
    fn call(&mut self, method: &str, target: &str, body: Option<&[u8]>) -> Option<Answer> {
        if self.seats[self.current].stopped_until.is_some() {
            self.current = (self.current + 1) % self.seats.len();
            if self.seats[self.current].stopped_until.is_some() {
                return None;
            }
        }
        let address = self.seats[self.current].manager().address();
        let answer = Client::new(address).call(method, target, body);
        if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            self.current = (self.current + 1) % self.seats.len();
        }
        Some(answer.unwrap_or(Answer { status: 0, headers: Vec::new(), body: Vec::new() }))
    }

    fn act(&mut self, index: usize, wish: Option<Wish>) {
        let resident = &self.residents[index];
        let begun = Instant::now();
        let answer = match &wish {
            Some(Wish { port, services }) => {
                let body = json!({
                    "service_name": resident.service, "pod_name": resident.pod.name,
                    "providers": [{"protocol": "http", "ip": "127.0.0.1", "port": port}],
                    "health_check_url": resident.pod.health_url(),
                    "notification_url": resident.pod.notification_url(),
                    "subscriptions": services,
                });
                self.call("POST", "/register", Some(body.to_string().as_bytes()))
            }
            None => {
                let (service, pod) = (resident.service, &resident.pod.name);
                let target = format!("/unregister?service_name={service}&pod_name={pod}");
                self.call("DELETE", &target, None)
            }
        };
        let outcome = match answer {
            None => Outcome::Nothing,
            Some(answer) => match answer.status {
                200 => Outcome::Done(answer.json()["revision"].as_u64().unwrap()),
                404 | 503 => Outcome::Nothing,
                0 | 504 => Outcome::Unknown,
                other => panic!("{other} is no answer to this: {answer:?}"),
            },
        };
        self.residents[index].deeds.push(Deed { begun, wish, outcome });
    }

    fn step(&mut self) {
        let index = self.below(self.residents.len());
        match self.below(100) {
            0..35 => {
                self.last_port = self.last_port % 65_535 + 1;
                let services = SERVICES.into_iter().filter(|_| self.random.below(2) == 0);
                let services = services.collect();
                self.act(index, Some(Wish { port: self.last_port, services }));
            }
            35..45 => self.act(index, None),
            45..70 => {
                let ways = [Health::Answer(200), Health::Answer(500), Health::Hang, Health::Close];
                let way = ways[self.below(ways.len())].clone();
                self.residents[index].pod.set_health(way);
            }
            70..96 => {
                let ways = [
                    Reception::Answer(200),
                    Reception::Answer(200),
                    Reception::Answer(500),
                    Reception::RetryAfter(503, 1),
                    Reception::Slow(Duration::from_millis(300), 200),
                    Reception::Hang,
                    Reception::Close,
                ];
                let way = ways[self.below(ways.len())].clone();
                self.residents[index].pod.set_reception(way);
            }
            _ if self.calm_until <= Instant::now() => self.disturb(),
            _ => {}
        }
    }

    /// Does something to a manager, or to its way to the database.
    fn disturb(&mut self) {
        let seat = self.below(self.seats.len());
        let time = Duration::from_millis(self.random.below(3_000) + 200);
        let is_alone = self.seats.len() == 1;
        let kind = self.random.below(4);
        let seat = &mut self.seats[seat];
        self.calm_until = Instant::now() + time + Duration::from_millis(500);
        match kind {
            0 => {
                let builder = seat.manager.take().unwrap().sigkill();
                seat.stopped_until = None;
                seat.manager = Some(builder.launch());
            }
            1 if !is_alone => {
                // Longer than the lease, so that the other one takes over.
                seat.manager().signal(Signal::STOP);
                seat.stopped_until = Some(Instant::now() + time + Duration::from_secs(4));
            }
            2 => {
                seat.gate.proxy.refuse();
                seat.cut_until = Some(Instant::now() + time);
            }
            _ => {
                seat.gate.proxy.black_hole();
                seat.cut_until = Some(Instant::now() + time);
            }
        }
    }

    /// Has everything go well from now on; pods keep the health they have.
    fn end_faults(&mut self) {
        let late = Instant::now() + Duration::from_hours(1);
        for seat in &mut self.seats {
            seat.recover(late);
        }
        for resident in &self.residents {
            resident.pod.set_reception(Reception::Answer(200));
        }
    }

    /// The registry as it is shown, by pod.
    fn shown(&mut self) -> Option<Vec<Value>> {
        let answer = self.call("GET", "/services", None)?;
        (answer.status == 200).then(|| answer.json()["services"].as_array().unwrap().clone())
    }

    /// What keeps a subscriber from holding what the registry shows; none if nothing does.
    fn difference(&mut self) -> Option<String> {
        let Some(shown) = self.shown() else { return Some("nobody answers".to_owned()) };
        let mut held: BTreeMap<(String, String), Told> = BTreeMap::new();
        for told in self.fleet.told() {
            held.insert((told.to.clone(), told.service().to_owned()), told);
        }
        for pod in &shown {
            let name = pod["pod_name"].as_str().unwrap();
            for service in pod["subscriptions"].as_array().unwrap() {
                let service = service.as_str().unwrap();
                let expected: Vec<Value> = shown
                    .iter()
                    .filter(|other| other["service_name"] == service)
                    .map(essence)
                    .collect();
                let told = held.get(&(name.to_owned(), service.to_owned()));
                let holds: Option<Vec<Value>> =
                    told.map(|told| told.pods().iter().map(essence).collect());
                if holds.as_ref() != Some(&expected) {
                    return Some(format!("{name} of {service}: {holds:?}, not {expected:?}"));
                }
            }
        }
        None
    }

    fn resident(&self, name: &str) -> &Resident {
        self.residents.iter().find(|resident| resident.pod.name == name).unwrap()
    }

    fn check_book(&self) {
        let told = self.fleet.told();
        let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for told in &told {
            let revision = told.revision();
            let before = last.insert((&told.to, told.service()), revision).unwrap_or(0);
            assert!(before <= revision, "it went back from {before}: {told:?}\n{}", self.log());
            assert_eq!(told.body["registry_id"], self.fleet.told()[0].body["registry_id"]);
            let wishes = self.resident(&told.to).possible(revision, told.at);
            let is_asked =
                wishes.iter().flatten().any(|wish| wish.services.contains(&told.service()));
            assert!(is_asked, "not asked for, but {wishes:?}: {told:?}\n{}", self.log());
            self.check_list(told);
        }
    }

    /// A list says of each pod what had been acknowledged, or what may have come later.
    fn check_list(&self, told: &Told) {
        let residents = self.residents.iter().filter(|one| one.service == told.service());
        for resident in residents {
            let name = &resident.pod.name;
            let listed = told.pods().iter().find(|pod| pod["pod_name"] == **name);
            let port = listed.map(|pod| pod["providers"][0]["port"].as_u64().unwrap());
            let possible = resident.possible(told.revision(), told.at);
            let is_true = possible.iter().any(|wish| wish.map(|wish| wish.port) == port);
            assert!(is_true, "{name} is {possible:?}: {told:?}\n{}", self.log());
        }
    }
}

/// What a subscriber sees of a pod.
fn essence(pod: &Value) -> Value {
    json!([pod["pod_name"], pod["status"], pod["providers"]])
}

fn history(managers: usize) {
    let seed = times("GOVERNANCE_TEST_SEED", 1) as u64;
    let time = Duration::from_secs(times("GOVERNANCE_TEST_SECONDS", 12) as u64);
    let mut world = World::new(managers, seed);
    let mut left = time;
    while !left.is_zero() {
        let now = Instant::now();
        for seat in &mut world.seats {
            seat.recover(now);
        }
        world.step();
        let pause = Duration::from_millis(world.random.below(40));
        until(pause, || false);
        // A machine that was asleep as a whole did nothing meanwhile.
        left = left.saturating_sub(now.elapsed().min(STEP_MAX));
    }
    world.end_faults();
    let begun = Instant::now();
    let mut difference = None;
    let is_converged = until(CONVERGENCE_MAX, || {
        difference = world.difference();
        difference.is_none()
    });
    assert!(is_converged, "{difference:?}\n{}", world.log());
    world.check_book();
    let deeds = || world.residents.iter().flat_map(|one| &one.deeds);
    let done = deeds().filter(|deed| matches!(deed.outcome, Outcome::Done(_))).count();
    let (deeds, told) = (deeds().count(), world.fleet.told().len());
    assert!(done >= 10 && told >= 20, "too little happened: {done} {told}\n{}", world.log());
    eprintln!(
        "{deeds} commands, {done} done, {told} notifications, converged after {:?}",
        begun.elapsed()
    );
}

#[test]
fn one_manager_that_is_killed_and_cut_off_tells_everyone_the_truth_in_the_end() {
    history(1);
}

#[test]
fn two_managers_that_are_killed_stopped_and_cut_off_tell_everyone_the_truth_in_the_end() {
    history(2);
}
