//! A store that fails as told, around any other store.
//!
//! Here: [`FaultyStore`] with a script of faults per step, a seeded chance of faults, an outage, and
//! pods whose data is refused; and counters of what happened. Not here: any judgement whether the
//! caller coped, which is the test's.
//!
//! It never does what a real store cannot do: what it says is not applied never is, and after an
//! acquisition no earlier batch takes effect.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governance_domain::{Pod, PodKey, Timestamp};
use governance_store::{
    AcquireError, AuditEntry, AuditPage, AuditQuery, Batch, CommitError, Description, HealthWrite,
    Loaded, Owner, Renewal, RowChange, Store, StoreFault, Tenure, Uuid,
};
use tokio::sync::watch;

/// A method of [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// [`Store::acquire`]
    Acquire,
    /// [`Store::renew`]
    Renew,
    /// [`Store::release`]
    Release,
    /// [`Store::load`]
    Load,
    /// [`Store::commit`]
    Commit,
    /// [`Store::write_health`]
    WriteHealth,
    /// [`Store::rewrite`]
    Rewrite,
    /// [`Store::prune_audit`]
    PruneAudit,
    /// [`Store::digest_audit`]
    DigestAudit,
    /// [`Store::read_audit`]
    ReadAudit,
}

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong: keeps a place in a script.
    None,
    /// Fails before anything is done.
    NotApplied,
    /// Is done, but the answer is lost.
    UnknownApplied,
    /// Is not done, but the answer does not say so.
    UnknownNotApplied,
    /// The answer is lost, and a batch takes effect only when the store is next acquired: the old
    /// statement was still on its way. Other steps are done at once.
    UnknownAppliedLater,
    /// The data is refused, naming the culprit or not.
    Refused(Option<PodKey>),
    /// Another manager holds the right to write.
    Lost,
    /// Waits for [`FaultyStore::release_hung`], then does it. If the call is given up, it is never
    /// done.
    HangBefore,
    /// Does it, then waits for [`FaultyStore::release_hung`] before it answers. If the call is given
    /// up, it is done all the same.
    HangAfter,
}

/// What was asked of a step so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Calls that began.
    pub calls: usize,
    /// Of these, how many were met by a fault.
    pub faults: usize,
    /// Calls that were answered with success.
    pub successes: usize,
}

/// A store with faults.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    /// Counts the times that hung calls were released.
    released: watch::Sender<u64>,
    /// How many calls hang now.
    hanging: watch::Sender<usize>,
}

#[derive(Default)]
struct Plan {
    script: BTreeMap<Step, VecDeque<Fault>>,
    chance: Option<Chance>,
    is_away: bool,
    /// Pods whose data is refused, and whether the store can tell who it was.
    refused: BTreeMap<PodKey, bool>,
    counts: BTreeMap<Step, Count>,
    /// Batches that take effect at the next acquisition.
    late: Vec<Arc<Batch>>,
}

/// A seeded chance of faults.
struct Chance {
    random: u64,
    percent: u64,
    faults: Vec<(Step, Fault)>,
}

impl FaultyStore {
    /// Without a fault, until told.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            plan: Mutex::default(),
            released: watch::Sender::new(0),
            hanging: watch::Sender::new(0),
        })
    }

    /// The store inside, which has no faults.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    /// The next calls of `step` meet these faults, one each, after those scripted before.
    pub fn script(&self, step: Step, faults: impl IntoIterator<Item = Fault>) {
        self.plan().script.entry(step).or_default().extend(faults);
    }

    /// Calls that no script is for meet one of the faults listed for their step, `percent` times
    /// in a hundred; the same seed and order of calls give the same faults. A percentage of 0 ends
    /// it.
    pub fn chance(&self, seed: u64, percent: u64, faults: impl IntoIterator<Item = (Step, Fault)>) {
        let faults = faults.into_iter().collect();
        self.plan().chance = Some(Chance { random: seed, percent, faults });
    }

    /// While the store is away every step fails, certainly not applied, before any script.
    pub fn set_away(&self, is_away: bool) {
        self.plan().is_away = is_away;
    }

    /// From now on whatever holds this pod is refused.
    pub fn refuse(&self, key: PodKey, names_culprit: bool) {
        self.plan().refused.insert(key, names_culprit);
    }

    /// Refuses no pod any more.
    pub fn refuse_nobody(&self) {
        self.plan().refused.clear();
    }

    /// Lets the calls that hang now go on.
    pub fn release_hung(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// Waits until so many calls hang at once. Bound it by a deadline.
    pub async fn until_hanging(&self, calls: usize) {
        let mut hanging = self.hanging.subscribe();
        // The sender lives as long as `self`.
        let _ = hanging.wait_for(|now| *now >= calls).await;
    }

    /// What was asked of a step so far.
    pub fn count(&self, step: Step) -> Count {
        self.plan().counts.get(&step).copied().unwrap_or_default()
    }

    /// Whether every scripted fault was met.
    pub fn is_script_done(&self) -> bool {
        self.plan().script.values().all(VecDeque::is_empty)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn hang(&self) {
        let mut released = self.released.subscribe();
        self.hanging.send_modify(|calls| *calls += 1);
        let _hung = Hung(&self.hanging);
        // The sender lives as long as `self`.
        let _ = released.changed().await;
    }

    /// Does `work` as far as the plan lets it, when the future is first polled.
    async fn planned<'a, T, E: From<Failure>>(
        &'a self,
        step: Step,
        work: impl FnOnce() -> BoxFuture<'a, Result<T, E>>,
    ) -> Result<T, E> {
        let fault = self.plan().next(step);
        self.meet(step, fault, work).await
    }

    /// Does `work` as far as `fault` lets it.
    async fn meet<'a, T, E: From<Failure>>(
        &'a self,
        step: Step,
        fault: Fault,
        work: impl FnOnce() -> BoxFuture<'a, Result<T, E>>,
    ) -> Result<T, E> {
        let outcome = match fault {
            Fault::None => work().await,
            Fault::NotApplied => Err(Failure::NotApplied.into()),
            Fault::UnknownNotApplied => Err(Failure::Unknown.into()),
            Fault::Refused(culprit) => Err(Failure::Refused(culprit).into()),
            Fault::Lost => Err(Failure::Lost.into()),
            Fault::UnknownApplied | Fault::UnknownAppliedLater => match work().await {
                Ok(_) => Err(Failure::Unknown.into()),
                Err(error) => Err(error),
            },
            Fault::HangBefore => {
                self.hang().await;
                work().await
            }
            Fault::HangAfter => {
                let outcome = work().await;
                self.hang().await;
                outcome
            }
        };
        if outcome.is_ok() {
            self.plan().counts.entry(step).or_default().successes += 1;
        }
        outcome
    }
}

struct Hung<'a>(&'a watch::Sender<usize>);

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

impl Plan {
    fn next(&mut self, step: Step) -> Fault {
        let fault = if self.is_away {
            Fault::NotApplied
        } else {
            let scripted = self.script.get_mut(&step).and_then(VecDeque::pop_front);
            scripted.or_else(|| self.chance.as_mut()?.next(step)).unwrap_or(Fault::None)
        };
        let count = self.counts.entry(step).or_default();
        count.calls += 1;
        count.faults += usize::from(fault != Fault::None);
        fault
    }

    fn refusal<'a>(&self, keys: impl IntoIterator<Item = &'a PodKey>) -> Option<Failure> {
        keys.into_iter().find_map(|key| {
            let names_culprit = *self.refused.get(key)?;
            Some(Failure::Refused(names_culprit.then(|| key.clone())))
        })
    }
}

impl Chance {
    fn next(&mut self, step: Step) -> Option<Fault> {
        if self.draw() % 100 >= self.percent {
            return None;
        }
        let fitting: Vec<&Fault> =
            self.faults.iter().filter(|(of, _)| *of == step).map(|(_, fault)| fault).collect();
        let count = u64::try_from(fitting.len()).ok().filter(|count| *count > 0)?;
        let index = usize::try_from(self.random % count).ok()?;
        fitting.get(index).map(|fault| (*fault).clone())
    }

    /// The next number of `SplitMix64` (Steele, Lea, Flood, 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A planned failure, in the words of every step.
enum Failure {
    NotApplied,
    Unknown,
    Refused(Option<PodKey>),
    Lost,
}

const PLANNED: &str = "planned by the test";

impl From<Failure> for CommitError {
    fn from(failure: Failure) -> Self {
        let fault = StoreFault::new(PLANNED);
        match failure {
            Failure::NotApplied => Self::NotApplied(fault),
            Failure::Unknown => Self::Unknown(fault),
            Failure::Refused(culprit) => Self::Refused { culprit, fault },
            Failure::Lost => Self::Lost(fault),
        }
    }
}

impl From<Failure> for AcquireError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotApplied | Failure::Unknown => Self::Unavailable(StoreFault::new(PLANNED)),
            Failure::Refused(_) => Self::Unusable(StoreFault::new(PLANNED)),
            Failure::Lost => Self::Held { address: "127.0.0.1:1".to_owned(), tenure: None },
        }
    }
}

/// [`Store::load`] and [`Store::read_audit`] with an error that a failure can become.
struct ReadFault(StoreFault);

impl From<Failure> for ReadFault {
    fn from(_: Failure) -> Self {
        Self(StoreFault::new(PLANNED))
    }
}

impl Store for FaultyStore {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn acquire<'a>(&'a self, owner: &'a Owner) -> BoxFuture<'a, Result<Tenure, AcquireError>> {
        let work = move || {
            async move {
                let late = std::mem::take(&mut self.plan().late);
                for batch in late {
                    // Whether it still can be applied is for the store to say; nobody listens.
                    let _ = self.inner.commit(batch).await;
                }
                self.inner.acquire(owner).await
            }
            .boxed()
        };
        self.planned(Step::Acquire, work).boxed()
    }

    fn renew<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<Renewal, CommitError>> {
        self.planned(Step::Renew, || self.inner.renew(tenure)).boxed()
    }

    fn release<'a>(&'a self, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), CommitError>> {
        self.planned(Step::Release, || self.inner.release(tenure)).boxed()
    }

    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreFault>> {
        let work = || async { self.inner.load().await.map_err(ReadFault) }.boxed();
        async move { self.planned(Step::Load, work).await.map_err(|ReadFault(fault)| fault) }
            .boxed()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), CommitError>> {
        async move {
            let fault = self.plan().next(Step::Commit);
            let is_late = fault == Fault::UnknownAppliedLater;
            let refusal = self.plan().refusal(batch.rows.iter().map(RowChange::key));
            let work = || match refusal {
                Some(failure) => std::future::ready(Err(failure.into())).boxed(),
                None if is_late => {
                    self.plan().late.push(batch);
                    std::future::ready(Ok(())).boxed()
                }
                None => self.inner.commit(batch),
            };
            self.meet(Step::Commit, fault, work).await
        }
        .boxed()
    }

    fn write_health<'a>(
        &'a self,
        tenure: &'a Tenure,
        writes: Vec<HealthWrite>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<(), CommitError>> {
        self.planned(Step::WriteHealth, move || self.inner.write_health(tenure, writes, audit))
            .boxed()
    }

    fn rewrite<'a>(
        &'a self,
        tenure: &'a Tenure,
        pods: Vec<Arc<Pod>>,
        audit: Vec<AuditEntry>,
    ) -> BoxFuture<'a, Result<Uuid, CommitError>> {
        let refusal = self.plan().refusal(pods.iter().map(|pod| &pod.key));
        let work = move || match refusal {
            Some(failure) => std::future::ready(Err(failure.into())).boxed(),
            None => self.inner.rewrite(tenure, pods, audit),
        };
        self.planned(Step::Rewrite, work).boxed()
    }

    fn prune_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        before: Timestamp,
        limit: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        self.planned(Step::PruneAudit, move || self.inner.prune_audit(tenure, before, limit))
            .boxed()
    }

    fn digest_audit<'a>(
        &'a self,
        tenure: &'a Tenure,
        blocks: usize,
    ) -> BoxFuture<'a, Result<usize, CommitError>> {
        self.planned(Step::DigestAudit, move || self.inner.digest_audit(tenure, blocks)).boxed()
    }

    fn read_audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<AuditPage, StoreFault>> {
        let work =
            move || async move { self.inner.read_audit(query).await.map_err(ReadFault) }.boxed();
        async move { self.planned(Step::ReadAudit, work).await.map_err(|ReadFault(fault)| fault) }
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governance_store::MemoryStore;

    struct Case {
        store: Arc<FaultyStore>,
        tenure: Tenure,
    }

    fn owner() -> Owner {
        Owner { id: Uuid::nil(), address: "127.0.0.1:8080".to_owned(), last: None }
    }

    async fn case() -> Case {
        let store = FaultyStore::new(Arc::new(MemoryStore::default()));
        let tenure = store.acquire(&owner()).await.unwrap();
        Case { store, tenure }
    }

    impl Case {
        fn batch(&self) -> Arc<Batch> {
            let Tenure { epoch, sequence, .. } = self.tenure;
            Arc::new(Batch { epoch, sequence: sequence + 1, rows: Vec::new(), audit: Vec::new() })
        }

        async fn stored_sequence(&self) -> u64 {
            self.store.acquire(&owner()).await.unwrap().sequence
        }
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_what_was_scripted() {
        for (fault, stored) in [
            (Fault::UnknownApplied, 1),
            (Fault::UnknownAppliedLater, 1),
            (Fault::UnknownNotApplied, 0),
        ] {
            let case = case().await;
            case.store.script(Step::Commit, [fault.clone()]);
            let outcome = case.store.commit(case.batch()).await;
            assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{fault:?}");
            assert!(case.store.is_script_done());
            assert_eq!(case.stored_sequence().await, stored, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_applied_is_not_and_the_next_call_is_well() {
        let case = case().await;
        case.store.script(Step::Commit, [Fault::NotApplied, Fault::None, Fault::Lost]);
        let outcome = case.store.commit(case.batch()).await;
        assert!(matches!(outcome, Err(CommitError::NotApplied(_))));
        case.store.commit(case.batch()).await.unwrap();
        let outcome = case.store.commit(case.batch()).await;
        assert!(matches!(outcome, Err(CommitError::Lost(_))));
        let count = Count { calls: 3, faults: 2, successes: 1 };
        assert_eq!(case.store.count(Step::Commit), count);
        assert_eq!(case.stored_sequence().await, 1);
    }

    #[tokio::test]
    async fn a_hung_call_goes_on_when_told_and_a_dropped_one_as_scripted() {
        for (fault, stored_if_dropped) in [(Fault::HangBefore, 0), (Fault::HangAfter, 1)] {
            for is_dropped in [true, false] {
                let case = case().await;
                case.store.script(Step::Commit, [fault.clone()]);
                let mut commit = case.store.commit(case.batch());
                assert!((&mut commit).now_or_never().is_none());
                case.store.until_hanging(1).await;
                let stored = if is_dropped {
                    drop(commit);
                    stored_if_dropped
                } else {
                    case.store.release_hung();
                    commit.await.unwrap();
                    1
                };
                assert_eq!(*case.store.hanging.borrow(), 0);
                assert_eq!(case.stored_sequence().await, stored, "{fault:?} {is_dropped}");
            }
        }
    }

    #[tokio::test]
    async fn a_refused_pod_takes_its_batch_with_it_until_it_is_forgiven() {
        use governance_domain::{PodName, ServiceName};
        let case = case().await;
        let key = PodKey::new(ServiceName::stored("eir"), PodName::stored("bad"));
        let batch = Arc::new(Batch {
            rows: vec![RowChange::Delete { key: key.clone() }],
            ..Batch::clone(&case.batch())
        });
        for names_culprit in [true, false] {
            case.store.refuse(key.clone(), names_culprit);
            match case.store.commit(Arc::clone(&batch)).await {
                Err(CommitError::Refused { culprit, .. }) => {
                    assert_eq!(culprit, names_culprit.then(|| key.clone()));
                }
                other => panic!("{other:?}"),
            }
        }
        case.store.refuse_nobody();
        case.store.commit(batch).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_is_away_fails_at_every_step_until_it_is_back() {
        let case = case().await;
        case.store.set_away(true);
        assert!(case.store.load().await.is_err());
        assert!(case.store.renew(&case.tenure).await.is_err());
        assert!(case.store.write_health(&case.tenure, vec![], vec![]).await.is_err());
        let acquired = case.store.acquire(&owner()).await;
        assert!(matches!(acquired, Err(AcquireError::Unavailable(_))));
        case.store.set_away(false);
        assert!(case.store.load().await.is_ok());
        case.store.commit(case.batch()).await.unwrap();
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_faults() {
        let mut runs = Vec::new();
        for seed in [1, 1, 2] {
            let case = case().await;
            let faults = [(Step::Load, Fault::NotApplied), (Step::Renew, Fault::Lost)];
            case.store.chance(seed, 30, faults);
            let mut run = Vec::new();
            for _ in 0..200 {
                run.push(case.store.load().await.is_ok());
            }
            let failed = run.iter().filter(|is_ok| !**is_ok).count();
            assert!((30..90).contains(&failed), "{failed} of 200 at 30 per cent");
            assert_eq!(case.store.count(Step::Load).faults, failed);
            runs.push(run);
        }
        assert_eq!(runs[0], runs[1]);
        assert_ne!(runs[0], runs[2]);
    }
}
