//! Random scripts of commands, compared step by step with a naive model of the rules.
//!
//! The model is written from the documented behaviour with plain maps, knows nothing of drafts or
//! persistent sets, and gives no thought to cost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use governance_domain::{
    Change, Content, Decision, Draft, Pod, PodKey, PodName, Protocol, Provider, ProviderFilter,
    Register, RegistrationId, Registry, Rejection, Revision, ServiceName, Status, Subscription,
    Timestamp, Unregister, Verdict,
};
use proptest::prelude::*;

const PODS_PER_SERVICE_MAX: usize = 3;
const SERVICES: [&str; 5] = ["eir", "EIR", "diam-gw", "Diam-gw", "http-gw"];

#[derive(Clone, Debug)]
enum Step {
    Register {
        key: (usize, u8),
        content: Blueprint,
    },
    /// `id`: none, the current one, or a wrong one.
    Unregister {
        key: (usize, u8),
        id: Guess,
        instance: Guess,
    },
    /// What a check of the current registration found.
    Observe {
        key: (usize, u8),
        status: Status,
        is_stale: bool,
    },
    /// The batch so far is committed.
    Commit,
    /// The batch so far is not applied.
    Withdraw,
}

#[derive(Clone, Copy, Debug)]
enum Guess {
    None,
    Right,
    Wrong,
}

/// A registration's content in a form that is easy to compare as sets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blueprint {
    ports: Vec<i64>,
    health: u8,
    notification: u8,
    wishes: Vec<(usize, bool)>,
    instance: Option<u8>,
}

fn blueprint() -> impl Strategy<Value = Blueprint> {
    (
        prop::collection::btree_set(1_i64..4, 1..3).prop_map(Vec::from_iter).prop_shuffle(),
        0_u8..2,
        0_u8..2,
        prop::collection::btree_map(0_usize..5, any::<bool>(), 0..3)
            .prop_map(Vec::from_iter)
            .prop_shuffle(),
        prop::option::of(0_u8..2),
    )
        .prop_map(|(ports, health, notification, wishes, instance)| Blueprint {
            ports,
            health,
            notification,
            wishes,
            instance,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0_usize..SERVICES.len(), 0_u8..5);
    let guess =
        || prop_oneof![4 => Just(Guess::None), 2 => Just(Guess::Right), 1 => Just(Guess::Wrong)];
    let status = prop_oneof![Just(Status::Healthy), Just(Status::Unhealthy)];
    prop_oneof![
        8 => (key(), blueprint()).prop_map(|(key, content)| Step::Register { key, content }),
        4 => (key(), guess(), guess())
            .prop_map(|(key, id, instance)| Step::Unregister { key, id, instance }),
        4 => (key(), status, any::<bool>())
            .prop_map(|(key, status, is_stale)| Step::Observe { key, status, is_stale }),
        4 => Just(Step::Commit),
        1 => Just(Step::Withdraw),
    ]
}

fn content(blueprint: &Blueprint) -> Content {
    Content {
        providers: blueprint
            .ports
            .iter()
            .map(|port| Provider {
                protocol: Protocol::stored("http"),
                host: "10.0.0.1".into(),
                port: *port,
                id: None,
            })
            .collect(),
        health_check_url: format!("http://10.0.0.1/{}", blueprint.health).into(),
        notification_url: format!("http://10.0.0.1/{}", blueprint.notification).into(),
        subscriptions: blueprint
            .wishes
            .iter()
            .map(|(service, healthy_only)| Subscription {
                service: ServiceName::stored(SERVICES[*service]),
                filter: ProviderFilter::All,
                healthy_only: *healthy_only,
            })
            .collect(),
        instance_id: blueprint.instance.map(|id| format!("instance-{id}").into()),
    }
}

fn key_of((service, pod): (usize, u8)) -> PodKey {
    PodKey::new(ServiceName::stored(SERVICES[service]), PodName::stored(&format!("pod-{pod}")))
}

/// A pod as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    id: RegistrationId,
    content: Blueprint,
    status: Status,
}

type Pods = BTreeMap<PodKey, Known>;

/// What the model says a command must come to.
#[derive(Debug, PartialEq)]
enum Expected {
    Unchanged(RegistrationId),
    /// New registration: its id is given by the registry, but must be higher than all before.
    Registered,
    Amended(RegistrationId),
    Unregistered(RegistrationId),
    Refused(&'static str),
}

fn as_set<T: Ord + Clone>(list: &[T]) -> BTreeSet<T> {
    list.iter().cloned().collect()
}

fn model_register(pods: &Pods, key: &PodKey, wanted: &Blueprint) -> Expected {
    let Some(known) = pods.get(key) else {
        let services: BTreeSet<&ServiceName> = pods.keys().map(|key| &key.service).collect();
        let count = pods.keys().filter(|other| other.service == key.service).count();
        if count >= PODS_PER_SERVICE_MAX {
            return Expected::Refused("service_full");
        }
        let collides = services.iter().any(|other| {
            **other != key.service
                && other.as_str().to_lowercase() == key.service.as_str().to_lowercase()
        });
        if collides && count == 0 {
            return Expected::Refused("service_name_collision");
        }
        return Expected::Registered;
    };
    let old = &known.content;
    if as_set(&old.ports) != as_set(&wanted.ports)
        || old.health != wanted.health
        || old.instance != wanted.instance
    {
        Expected::Registered
    } else if old.notification != wanted.notification
        || as_set(&old.wishes) != as_set(&wanted.wishes)
    {
        Expected::Amended(known.id)
    } else {
        Expected::Unchanged(known.id)
    }
}

fn model_unregister(pods: &Pods, command: &Unregister) -> Expected {
    let Some(known) = pods.get(&command.key) else {
        return Expected::Refused("pod_not_registered");
    };
    if command.registration_id.is_some_and(|id| id != known.id) {
        return Expected::Refused("registration_superseded");
    }
    let current = known.content.instance.map(|id| format!("instance-{id}"));
    if command.instance_id.as_ref().is_some_and(|id| Some(&**id) != current.as_deref()) {
        return Expected::Refused("instance_superseded");
    }
    Expected::Unregistered(known.id)
}

fn outcome(decision: &Result<Decision, Rejection>) -> Expected {
    match decision {
        Err(rejection) => Expected::Refused(rejection.code()),
        Ok(Decision::Unchanged(id)) => Expected::Unchanged(*id),
        Ok(Decision::Changed(Change::PodRegistered { .. })) => Expected::Registered,
        Ok(Decision::Changed(Change::PodAmended { registration_id, .. })) => {
            Expected::Amended(*registration_id)
        }
        Ok(Decision::Changed(
            Change::PodUnregistered { registration_id, .. }
            | Change::PodEvicted { registration_id, .. },
        )) => Expected::Unregistered(*registration_id),
    }
}

/// Runs a script: commands are decided on a draft that lives until `Commit` or `Withdraw`, while
/// observations are applied to the registry under it, as in the engine.
struct Run {
    registry: Registry,
    /// Commands of the open batch.
    open: Vec<Step>,
    committed: Pods,
    last_id: RegistrationId,
    highest_id: RegistrationId,
}

impl Run {
    fn new() -> Self {
        let last_id = RegistrationId::start_of(1);
        Self {
            registry: Registry::new(Revision::start_of(1)),
            open: Vec::new(),
            committed: Pods::new(),
            last_id,
            highest_id: last_id,
        }
    }

    /// Decides the open batch from the beginning and compares each command with the model.
    fn decide(&mut self) -> (Vec<Change>, Pods) {
        let mut draft = Draft::new(&self.registry, PODS_PER_SERVICE_MAX, self.last_id);
        let mut pods = self.committed.clone();
        let mut changes = Vec::new();
        for (index, step) in self.open.iter().enumerate() {
            let now = Timestamp::from_micros(i64::try_from(index).unwrap());
            let (expected, decision) = match step {
                Step::Register { key, content: wanted } => {
                    let key = key_of(*key);
                    let command = Register { key: key.clone(), content: Arc::new(content(wanted)) };
                    (model_register(&pods, &key, wanted), draft.register(&command, now))
                }
                Step::Unregister { key, id, instance } => {
                    let command = unregister(&pods, key_of(*key), *id, *instance);
                    let decision = draft.unregister(&command).map(Decision::Changed);
                    (model_unregister(&pods, &command), decision)
                }
                Step::Observe { .. } | Step::Commit | Step::Withdraw => unreachable!(),
            };
            assert_eq!(outcome(&decision), expected, "{step:?}");
            if let Ok(Decision::Changed(change)) = decision {
                self.follow(&mut pods, step, &change);
                changes.push(change);
            }
        }
        self.highest_id = self.highest_id.max(draft.last_id());
        (changes, pods)
    }

    fn follow(&self, pods: &mut Pods, step: &Step, change: &Change) {
        let wanted = match step {
            Step::Register { content, .. } => content.clone(),
            Step::Unregister { .. } | Step::Observe { .. } | Step::Commit | Step::Withdraw => {
                pods.remove(change.key());
                return;
            }
        };
        match change {
            Change::PodRegistered { pod } => {
                assert!(pod.registration_id > self.last_id, "ids only grow");
                let status = Status::Unknown;
                let id = pod.registration_id;
                pods.insert(pod.key.clone(), Known { id, content: wanted, status });
            }
            Change::PodAmended { key, .. } => pods.get_mut(key).unwrap().content = wanted,
            Change::PodUnregistered { .. } | Change::PodEvicted { .. } => unreachable!(),
        }
    }

    fn commit(&mut self) {
        let (changes, pods) = self.decide();
        for change in &changes {
            let before = self.registry.revision();
            let applied = self.registry.apply(change);
            assert_eq!(applied.revision, before.next(), "every change has its own revision");
        }
        self.committed = pods;
        self.last_id = self.highest_id;
        self.open.clear();
    }

    fn observe(&mut self, key: (usize, u8), status: Status, is_stale: bool) {
        let key = key_of(key);
        let before = self.registry.revision();
        let known = self.committed.get_mut(&key);
        let id = known.as_ref().map_or(RegistrationId::from_u64(1), |known| known.id);
        let id = if is_stale { RegistrationId::from_u64(id.as_u64() - 1) } else { id };
        let verdict = Verdict { status, at: Timestamp::from_micros(7) };
        let applied = self.registry.observe(&key, id, verdict);
        match known {
            Some(known) if !is_stale && known.status != status => {
                known.status = status;
                assert_eq!(applied.revision, before.next());
                assert!(applied.notice.is_some());
            }
            _ => {
                assert_eq!(self.registry.revision(), before, "nothing was changed");
                assert!(applied.notice.is_none());
            }
        }
    }

    fn assert_agreement(&self) {
        self.registry.assert_consistent();
        let shown: Vec<&Arc<Pod>> = self.registry.pods().collect();
        assert_eq!(shown.len(), self.committed.len());
        for (pod, (key, known)) in shown.iter().zip(&self.committed) {
            assert_eq!((&pod.key, pod.registration_id, pod.status), (key, known.id, known.status));
            assert_eq!(*pod.content, content(&known.content));
        }
        for service in SERVICES {
            let expected: Vec<&PodKey> = self
                .committed
                .iter()
                .filter(|(_, known)| known.content.wishes.iter().any(|w| SERVICES[w.0] == service))
                .map(|(key, _)| key)
                .collect();
            assert!(self.registry.subscribers(service).eq(expected), "subscribers of {service}");
        }
    }
}

fn unregister(pods: &Pods, key: PodKey, id: Guess, instance: Guess) -> Unregister {
    let known = pods.get(&key);
    let current_id = known.map_or(RegistrationId::from_u64(5), |known| known.id);
    let current_instance =
        known.and_then(|known| known.content.instance).map(|id| format!("instance-{id}").into());
    Unregister {
        key,
        registration_id: match id {
            Guess::None => None,
            Guess::Right => Some(current_id),
            Guess::Wrong => Some(current_id.next()),
        },
        instance_id: match instance {
            Guess::None => None,
            Guess::Right => current_instance,
            Guess::Wrong => Some("instance-of-yesterday".into()),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn registry_follows_the_naive_model(script in prop::collection::vec(step(), 0..60)) {
        let mut run = Run::new();
        for step in script {
            match step {
                Step::Commit => run.commit(),
                Step::Withdraw => {
                    run.decide();
                    run.open.clear();
                }
                Step::Observe { key, status, is_stale } => run.observe(key, status, is_stale),
                step @ (Step::Register { .. } | Step::Unregister { .. }) => {
                    run.open.push(step);
                    run.decide();
                }
            }
            run.assert_agreement();
        }
        run.commit();
        run.assert_agreement();
    }
}
