//! The rules of a membership against scripts and chance, with times that nobody waits for.

use std::time::Duration;

use fastrand::Rng;
use governance_api::Registered;
use tokio::time::Instant;

use super::backoff::Pauses;
use super::course::{Call, Course, Hearing, Renewal, Rhythm, Stage, Step};
use super::outcome::{Outcome, Trouble};
use super::url::ManagerUrl;

const RHYTHM: Rhythm = Rhythm {
    heartbeat: Duration::from_secs(30),
    refresh: Duration::from_mins(5),
    pauses: Pauses { first: Duration::from_millis(250), longest: Duration::from_secs(30) },
};

struct World {
    course: Course,
    now: Instant,
}

impl World {
    fn new(managers: usize, seed: u64) -> Self {
        let url = |index| ManagerUrl::parse(&format!("http://m{index}:1")).unwrap();
        let managers = (0..managers).map(url).collect();
        let now = Instant::now();
        Self { course: Course::new(managers, RHYTHM, now, Rng::with_seed(seed)), now }
    }

    /// The next request, however long that takes; none at the end. Also the pause before it.
    fn next(&mut self) -> Option<(Call, Duration)> {
        let began = self.now;
        loop {
            match self.course.next(self.now) {
                Step::Call(call) => return Some((call, self.now - began)),
                Step::Wait(until) => {
                    assert!(until > self.now, "it waits for what has been");
                    self.now = until;
                }
                Step::End => return None,
            }
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.course.ended(self.now, outcome, Hearing::Sound);
    }

    #[track_caller]
    fn expect(&mut self, call: Call, outcome: Outcome) -> Duration {
        let (asked, pause) = self.next().unwrap();
        assert_eq!(asked, call);
        self.end(outcome);
        pause
    }

    fn stop(&mut self, patience: u64) {
        self.course.stop(self.now, self.now + Duration::from_secs(patience));
    }
}

fn registered(id: u64) -> Outcome {
    Outcome::Registered(Box::new(Registered {
        status: "success".to_owned(),
        message: String::new(),
        service_name: "eir".to_owned(),
        pod_name: "eir-1".to_owned(),
        registration_id: id,
        revision: 1,
        registry_id: "a".to_owned(),
        pods: Vec::new(),
        subscribed_services: std::collections::BTreeMap::new(),
    }))
}

fn unavailable() -> Outcome {
    Outcome::Unavailable { retry_after: None, fault: "away".to_owned() }
}

fn in_doubt() -> Outcome {
    Outcome::Unknown("nobody knows".to_owned())
}

fn stuck() -> Outcome {
    let (manager, text) = ("m".to_owned(), "no".to_owned());
    Outcome::Stuck(Trouble::Refused { manager, status: 400, text })
}

#[test]
fn heartbeats_follow_a_registration_and_now_and_then_another_one() {
    let mut world = World::new(1, 1);
    world.expect(Call::Register, registered(7));
    let mut calls = Vec::new();
    for _ in 0..12 {
        let (call, pause) = world.next().unwrap();
        assert!(pause >= Duration::from_secs(27) && pause <= Duration::from_secs(30));
        calls.push(call);
        world.end(if call == Call::Register { registered(7) } else { Outcome::Alive });
    }
    assert_eq!(calls.iter().filter(|call| **call == Call::Register).count(), 1, "{calls:?}");
}

#[test]
fn after_a_heartbeat_that_failed_comes_a_registration() {
    for failure in [unavailable(), in_doubt(), Outcome::PodUnknown, stuck()] {
        let mut world = World::new(1, 2);
        world.expect(Call::Register, registered(7));
        world.expect(Call::Heartbeat, failure.clone());
        let pause = world.expect(Call::Register, registered(8));
        assert_eq!(pause.is_zero(), failure == Outcome::PodUnknown, "{failure:?}");
        assert_eq!(*world.course.stage(), Stage::Registered);
    }
}

#[test]
fn a_round_of_managers_is_asked_without_pause_and_the_next_one_after_it() {
    let mut world = World::new(3, 3);
    let pauses: Vec<bool> =
        (0..6).map(|_| !world.expect(Call::Register, in_doubt()).is_zero()).collect();
    assert_eq!(pauses, [false, false, false, true, false, false]);
    assert!(matches!(world.course.stage(), Stage::Joining(Some(_))));
}

#[test]
fn notifications_of_another_registry_cause_at_most_one_registration_a_second() {
    let mut world = World::new(1, 4);
    world.expect(Call::Register, registered(7));
    for _ in 0..5 {
        world.course.renew(Renewal::RegistryChanged);
        let pause = world.expect(Call::Register, registered(7));
        assert_eq!(pause, Duration::from_secs(1));
    }
    world.course.renew(Renewal::ContentChanged);
    assert!(world.expect(Call::Register, registered(8)).is_zero(), "the own wish does not wait");
}

#[test]
fn what_is_wanted_during_a_registration_is_done_after_it() {
    let mut world = World::new(1, 5);
    world.next().unwrap();
    world.course.renew(Renewal::RegistryChanged);
    world.course.renew(Renewal::ContentChanged);
    world.course.renew(Renewal::RegistryChanged);
    world.end(registered(7));
    assert!(world.expect(Call::Register, registered(8)).is_zero());
    world.expect(Call::Heartbeat, Outcome::Alive);
}

#[test]
fn new_content_is_tried_at_once_when_the_old_was_refused() {
    let mut world = World::new(1, 6);
    world.expect(Call::Register, stuck());
    world.course.renew(Renewal::RegistryChanged);
    world.course.renew(Renewal::ContentChanged);
    assert!(world.expect(Call::Register, registered(7)).is_zero());
}

#[test]
fn content_that_changes_does_not_cut_the_pause_of_a_manager_that_is_away() {
    let mut world = World::new(1, 7);
    world.expect(Call::Register, unavailable());
    let Step::Wait(due) = world.course.next(world.now) else { panic!() };
    world.course.renew(Renewal::ContentChanged);
    assert_eq!(world.course.next(world.now), Step::Wait(due));
}

#[test]
fn leaving_unregisters_with_the_id_unless_that_is_in_doubt() {
    let mut world = World::new(1, 8);
    world.expect(Call::Register, registered(7));
    world.stop(10);
    world.expect(Call::Unregister(Some(7)), Outcome::Unregistered);
    assert_eq!(world.next(), None);
    assert_eq!(*world.course.stage(), Stage::Left(None));

    let mut world = World::new(1, 8);
    world.expect(Call::Register, registered(7));
    world.course.renew(Renewal::ContentChanged);
    world.expect(Call::Register, in_doubt());
    world.stop(10);
    world.expect(Call::Unregister(None), Outcome::Unregistered);
    assert_eq!(world.next(), None);
}

#[test]
fn a_registration_in_doubt_stays_so_until_an_answer_says_otherwise() {
    let mut world = World::new(1, 9);
    world.expect(Call::Register, in_doubt());
    // Certainly not applied, this one; the first may be.
    world.expect(Call::Register, unavailable());
    world.stop(10);
    world.expect(Call::Unregister(None), unavailable());
    world.expect(Call::Unregister(None), Outcome::Unregistered);
    assert_eq!(world.next(), None);
}

#[test]
fn leaving_ends_at_once_without_a_registration_and_at_the_deadline_with_one() {
    let mut world = World::new(1, 10);
    world.expect(Call::Register, unavailable());
    world.stop(10);
    assert_eq!(world.next(), None);
    assert_eq!(*world.course.stage(), Stage::Left(None));

    let mut world = World::new(2, 10);
    world.expect(Call::Register, registered(7));
    let began = world.now;
    world.stop(10);
    while let Some((call, _)) = world.next() {
        assert_eq!(call, Call::Unregister(Some(7)));
        world.end(in_doubt());
    }
    assert!(world.now - began <= Duration::from_secs(10));
    assert_eq!(*world.course.stage(), Stage::Left(Some("nobody knows".to_owned())));
}

#[test]
fn a_stop_during_a_registration_removes_what_it_made() {
    let mut world = World::new(1, 11);
    world.next().unwrap();
    world.stop(10);
    world.end(registered(7));
    world.expect(Call::Unregister(Some(7)), Outcome::Unregistered);
    assert_eq!(world.next(), None);
}

#[test]
fn silence_is_looked_into_once_a_heartbeat() {
    let mut world = World::new(1, 12);
    world.expect(Call::Register, registered(7));
    for _ in 0..3 {
        assert_eq!(world.next().unwrap().0, Call::Heartbeat);
        world.course.ended(world.now, Outcome::Alive, Hearing::Nothing);
        let pause = world.expect(Call::Inspect, Outcome::Inspected(None));
        assert!(pause.is_zero());
    }
}

fn any_outcome(call: Call, random: &mut Rng) -> Outcome {
    match (random.u8(..9), call) {
        (0, _) => unavailable(),
        (1, _) => in_doubt(),
        (2, _) => Outcome::NotActive { active: None, fault: "standby".to_owned() },
        (3, _) => {
            let active = ManagerUrl::parse(&format!("http://m{}:1", random.u8(..5))).ok();
            Outcome::NotActive { active, fault: "standby".to_owned() }
        }
        (4, _) => stuck(),
        (_, Call::Register) => registered(random.u64(1..4)),
        (5, Call::Heartbeat | Call::Inspect) => Outcome::PodUnknown,
        (_, Call::Heartbeat) => Outcome::Alive,
        (_, Call::Inspect) => Outcome::Inspected(None),
        (_, Call::Unregister(_)) => Outcome::Unregistered,
    }
}

/// Whatever happened, a manager that answers has the pod registered soon, and a pod that leaves is
/// gone or says that it is not.
#[test]
fn whatever_happens_it_ends_registered_and_it_ends_gone() {
    for seed in 0..3_000 {
        let mut random = Rng::with_seed(seed);
        let mut world = World::new(random.usize(1..4), seed);
        for _ in 0..random.u8(..40) {
            if random.u8(..4) == 0 {
                let both = [Renewal::ContentChanged, Renewal::RegistryChanged];
                world.course.renew(both[random.usize(..2)]);
            }
            let (call, pause) = world.next().unwrap();
            assert!(pause <= Duration::from_secs(31), "seed {seed}: {pause:?}");
            if random.bool() {
                world.course.renew(Renewal::RegistryChanged);
            }
            world.end(any_outcome(call, &mut random));
        }
        let began = world.now;
        let mut is_known = false;
        while !is_known || *world.course.stage() != Stage::Registered {
            let (call, _) = world.next().unwrap();
            let outcome = match call {
                Call::Register => registered(9),
                Call::Heartbeat | Call::Inspect if !is_known => Outcome::PodUnknown,
                Call::Heartbeat => Outcome::Alive,
                Call::Inspect => Outcome::Inspected(None),
                Call::Unregister(_) => panic!("seed {seed}: nobody wants to leave"),
            };
            is_known |= call == Call::Register;
            world.end(outcome);
        }
        assert!(world.now - began <= Duration::from_secs(61), "seed {seed}");
        world.stop(10);
        let began = world.now;
        let mut is_gone = false;
        while let Some((call, _)) = world.next() {
            let Call::Unregister(id) = call else { panic!("seed {seed}: {call:?}") };
            assert!(id.is_none() || id == Some(9), "seed {seed}");
            let outcome = any_outcome(call, &mut random);
            is_gone = outcome == Outcome::Unregistered;
            world.end(outcome);
        }
        assert!(world.now - began <= Duration::from_secs(10), "seed {seed}");
        assert_eq!(is_gone, *world.course.stage() == Stage::Left(None), "seed {seed}");
    }
}
