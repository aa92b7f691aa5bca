//! Random scripts against the schedule, which is looked at from the outside: who is asked, when,
//! and that nobody is asked twice at once, too late, for an earlier registration, or after it left.

use std::collections::BTreeMap;
use std::time::Duration;

use governance_domain::{Status, StreakRules, Timestamp};
use proptest::prelude::*;

use super::world::{key, registered, settings};
use crate::config;
use crate::connect::{OwnFault, OwnFaultKind};
use crate::health::limits::{Places, Rhythm};
use crate::health::reason::{Attempt, Reason};
use crate::health::schedule::{Due, Ended, Schedule};
use crate::health::tick::Tick;

const INTERVAL: Duration = Duration::from_secs(10);
const PODS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    Register(usize),
    Remove(usize),
    Hasten(usize),
    Lose,
    Reload,
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The attempt that is under way for longest ends.
    End(Result<bool, ()>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PODS).prop_map(Step::Register),
        2 => (0..PODS).prop_map(Step::Remove),
        2 => (0..PODS).prop_map(Step::Hasten),
        1 => prop_oneof![Just(Step::Lose), Just(Step::Reload)],
        8 => (0_u64..4_000).prop_map(Step::Wait),
        12 => prop_oneof![Just(Ok(true)), Just(Ok(false)), Just(Err(()))].prop_map(Step::End),
    ]
}

struct Script {
    schedule: Schedule,
    now: Tick,
    /// The present registration of each pod.
    pods: BTreeMap<usize, u64>,
    last_id: u64,
    flights: Vec<(usize, Due)>,
}

impl Script {
    fn new() -> Self {
        let rhythm = Rhythm::new(&config::Health { interval: INTERVAL, ..settings() });
        let rules = StreakRules { retry: 1, failure_limit: 2 };
        let schedule = Schedule::new(rhythm, rules, Places::new(100));
        let (now, pods, flights) = (Tick::default(), BTreeMap::new(), Vec::new());
        Self { schedule, now, pods, last_id: 0, flights }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Register(pod) => {
                self.last_id += 1;
                self.pods.insert(*pod, self.last_id);
                let registered = registered(&name(*pod), self.last_id, Status::Unknown);
                self.schedule.put(&registered, self.now);
            }
            Step::Remove(pod) => {
                self.pods.remove(pod);
                self.schedule.remove(&key(&name(*pod)));
            }
            Step::Hasten(pod) => self.schedule.check_soon(&key(&name(*pod)), self.now),
            Step::Lose => {
                self.pods.clear();
                self.schedule.clear();
            }
            Step::Reload => {
                let pods: Vec<_> = self
                    .pods
                    .iter()
                    .map(|(pod, id)| registered(&name(*pod), *id, Status::Healthy))
                    .collect();
                self.schedule.load(pods.iter(), self.now);
            }
            Step::Wait(millis) => self.now = self.now.after(Duration::from_millis(*millis)),
            Step::End(found) => self.end(*found),
        }
        self.stop_unwanted();
        self.schedule.turn(self.now);
        self.start_due();
        self.schedule.assert_consistent();
        assert_eq!(self.schedule.pod_count(), self.pods.len());
        assert_eq!(self.schedule.in_flight(), self.flights.len());
    }

    fn end(&mut self, found: Result<bool, ()>) {
        if self.flights.is_empty() {
            return;
        }
        let (pod, due) = self.flights.remove(0);
        let attempt = match found {
            Ok(true) => Attempt::Passed(Reason::Connected),
            Ok(false) => Attempt::Failed(Reason::Refused),
            Err(()) => Attempt::Ours(OwnFault { kind: OwnFaultKind::Route, detail: String::new() }),
        };
        self.tell(pod, &due, Some(attempt));
    }

    fn tell(&mut self, pod: usize, due: &Due, attempt: Option<Attempt>) {
        let Due { slot, registration_id, .. } = *due;
        let ended = Ended { slot, registration_id, attempt };
        let at = Timestamp::from_micros(0);
        if let Some(conclusion) = self.schedule.ended(ended, self.now, at) {
            let current = self.pods.get(&pod).copied();
            assert_eq!(Some(conclusion.registration_id.as_u64()), current, "a stale result");
        }
    }

    fn stop_unwanted(&mut self) {
        for slot in self.schedule.take_unwanted() {
            let place = self.flights.iter().position(|(_, due)| due.slot == slot);
            if let Some(place) = place {
                let (pod, due) = self.flights.remove(place);
                self.tell(pod, &due, None);
            }
        }
    }

    fn start_due(&mut self) {
        while let Some(due) = self.schedule.take_due(self.now) {
            let is_it = |(_, id): &(&usize, &u64)| **id == due.registration_id.as_u64();
            let pod = *self.pods.iter().find(is_it).expect("a pod that is registered so").0;
            assert!(self.flights.iter().all(|(other, _)| *other != pod), "two attempts at once");
            self.flights.push((pod, due));
        }
        // Who is not being asked is asked within an interval, whatever happened.
        if let Some(wake) = self.schedule.next_wake() {
            assert!(wake.since(self.now) <= INTERVAL);
        }
        let waiting = self.pods.len() - self.flights.len();
        assert_eq!(self.schedule.next_wake().is_some(), waiting > 0);
    }
}

fn name(pod: usize) -> String {
    format!("pod-{pod}")
}

proptest! {
    #[test]
    fn random_registrations_removals_and_results_keep_every_promise_of_the_schedule(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut script = Script::new();
        for step in &steps {
            script.take(step);
        }
        script.take(&Step::Lose);
        script.end(Ok(true));
        prop_assert_eq!(script.schedule.pod_count(), 0);
        prop_assert_eq!(script.schedule.in_flight(), 0);
    }
}
