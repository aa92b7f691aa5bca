//! Drives the [`Course`]: does what it says, one thing at a time, tells it how that ended, and
//! tells the process how things stand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use governance_api::{Version, paths};
use http::Method;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::course::{Call, Course, Hearing, Renewal, Stage, Step};
use super::outcome::{self, Outcome, Trouble, cut};
use super::url::ManagerUrl;
use super::wire::{Failure, Question, Wire};
use crate::deadline::Deadline;
use crate::profile::Profile;
use crate::standing::{Notifications, Phase, Standing};
use crate::view::{Fed, Feed, PODS_MAX};

/// What the session shares with the rest of the process.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) feed: Arc<Feed>,
    /// What is registered; replaced whole.
    pub(crate) profile: Arc<Mutex<Arc<Profile>>>,
    pub(crate) renewals: mpsc::Receiver<Renewal>,
    /// Until when to have left, once that is wanted.
    pub(crate) stop: Deadline,
    pub(crate) standing: watch::Sender<Standing>,
}

/// A membership under way.
#[derive(Debug)]
pub(crate) struct Session {
    course: Course,
    wire: Wire,
    links: Links,
    /// The own address towards the manager, as last seen.
    host: Option<String>,
    /// What the last answered registration said, to tell a foreign one from an own.
    told: Option<Arc<Profile>>,
    registrations: u64,
    /// Notifications that had come when the last registration was answered.
    heard_before: u64,
    /// Why the manager cannot deliver, as it says.
    undelivered: Option<String>,
}

impl Session {
    pub(crate) fn new(course: Course, wire: Wire, links: Links) -> Self {
        Self {
            course,
            wire,
            links,
            host: None,
            told: None,
            registrations: 0,
            heard_before: 0,
            undelivered: None,
        }
    }

    /// Runs until the pod has left.
    pub(crate) async fn run(mut self) {
        loop {
            self.attend();
            let step = self.course.next(Instant::now());
            self.publish();
            match step {
                Step::Call(call) => self.perform(call).await,
                Step::Wait(until) => self.wait(until).await,
                Step::End => return,
            }
        }
    }

    /// Takes note of what is wanted meanwhile.
    fn attend(&mut self) {
        while let Ok(why) = self.links.renewals.try_recv() {
            self.course.renew(why);
        }
        if let Some(until) = self.links.stop.now() {
            self.course.stop(Instant::now(), until);
        }
    }

    async fn wait(&mut self, until: Instant) {
        let mut stop = self.links.stop.clone();
        let is_told = stop.now().is_some();
        tokio::select! {
            () = sleep_until(until) => {}
            Some(why) = self.links.renewals.recv() => self.course.renew(why),
            _ = stop.told(), if !is_told => {}
        }
    }

    /// One request to its end. A stop does not break it off at once, because a registration that
    /// was broken off might be applied after the removal; but it gets half of the time only.
    async fn perform(&mut self, call: Call) {
        let mut stop = self.links.stop.clone();
        let profile = Arc::clone(&self.profile());
        let url = self.course.manager().clone();
        let limit = async {
            let until = stop.told().await;
            let half = until.saturating_duration_since(Instant::now()) / 2;
            sleep_until(Instant::now() + half).await;
        };
        let until = self.links.stop.now();
        let outcome = if let Some(until) = until {
            let asked = timeout_at(until, self.ask(call, &url, &profile)).await;
            asked.unwrap_or_else(|_| Outcome::Unknown("there was no time left".to_owned()))
        } else {
            tokio::select! {
                outcome = self.ask(call, &url, &profile) => outcome,
                () = limit => Outcome::Unknown("broken off to leave in time".to_owned()),
            }
        };
        self.digest(outcome, &profile);
    }

    fn profile(&self) -> Arc<Profile> {
        Arc::clone(&self.links.profile.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask(&mut self, call: Call, url: &ManagerUrl, profile: &Profile) -> Outcome {
        match self.try_to_ask(call, url, profile).await {
            Ok(outcome) => outcome,
            Err(Failure::NotSent(fault)) => {
                Outcome::Unavailable { retry_after: None, fault: fault.to_string() }
            }
            Err(Failure::NoAnswer(fault)) => Outcome::Unknown(fault.to_string()),
        }
    }

    async fn try_to_ask(
        &mut self,
        call: Call,
        url: &ManagerUrl,
        profile: &Profile,
    ) -> Result<Outcome, Failure> {
        if matches!(call, Call::Register | Call::Heartbeat) {
            self.find_host(call, url, profile).await?;
        }
        let host = self.host.clone().unwrap_or_default();
        let answer = self.wire.ask(url, &question(call, profile, &host)).await?;
        let mut outcome = outcome::read(call, url, &answer);
        if let Outcome::Stuck(Trouble::NotUnderstood { program, .. }) = &mut outcome {
            *program = self.program(url).await;
        }
        Ok(outcome)
    }

    /// Learns the own address by how the manager is reached, unless it was given.
    async fn find_host(
        &mut self,
        call: Call,
        url: &ManagerUrl,
        profile: &Profile,
    ) -> Result<(), Failure> {
        let host = match &profile.host {
            Some(given) => given.clone(),
            None => self.wire.reach(url).await?.to_string(),
        };
        let is_other = self.host.as_ref().is_some_and(|known| *known != host);
        if is_other {
            tracing::info!(host, "the own address changed");
            if call == Call::Heartbeat {
                self.course.renew(Renewal::ContentChanged);
            }
        }
        self.host = Some(host);
        Ok(())
    }

    /// Which program answers there, for a message.
    async fn program(&mut self, url: &ManagerUrl) -> Option<String> {
        let target = paths::VERSION.to_owned();
        let question = Question { method: Method::GET, target, body: None };
        let answer = self.wire.ask(url, &question).await.ok()?;
        let Version { name, version } = serde_json::from_slice(&answer.body).ok()?;
        Some(cut(&format!("{name} {version}")))
    }

    /// Feeds the view, and the course.
    fn digest(&mut self, mut outcome: Outcome, profile: &Arc<Profile>) {
        if let Outcome::Registered(answer) = &mut outcome {
            self.registrations += 1;
            self.heard_before = self.links.feed.heard();
            self.undelivered = None;
            self.compare(answer.registration_id, &answer.registry_id, profile);
            let services = std::mem::take(&mut answer.subscribed_services);
            if self.links.feed.registered(&answer.registry_id, answer.revision, services)
                == Fed::TooLarge
            {
                tracing::error!(
                    "the services subscribed to have more than {PODS_MAX} pods: the view is not \
                     renewed; subscribe to fewer services or with filters"
                );
            }
        }
        if let Outcome::Inspected(undelivered) = &mut outcome {
            let undelivered = undelivered.take();
            self.report_undelivered(profile, undelivered);
        }
        let hearing = if profile.subscriptions.is_empty() || self.has_heard() {
            Hearing::Sound
        } else {
            Hearing::Nothing
        };
        self.course.ended(Instant::now(), outcome, hearing);
    }

    fn has_heard(&self) -> bool {
        self.links.feed.heard() > self.heard_before
    }

    /// A new id in the same registry without new content: somebody else registered in between.
    fn compare(&mut self, id: u64, registry_id: &str, profile: &Arc<Profile>) {
        let known = self.course.registration();
        let is_other =
            known.is_some_and(|known| known.registry_id == registry_id && known.id != id);
        let is_unchanged = self.told.as_ref().is_some_and(|told| told == profile);
        if is_other && is_unchanged && profile.host.is_some() {
            tracing::warn!(
                service = profile.service,
                pod = profile.pod,
                "another process registers under this pod's name: give every process a name of \
                 its own, for example by POD_NAME"
            );
        }
        self.told = Some(Arc::clone(profile));
    }

    fn report_undelivered(&mut self, profile: &Profile, why: Option<String>) {
        let message = why.map(|why| {
            let url = profile.request(self.host.as_deref().unwrap_or_default()).notification_url;
            format!(
                "the manager cannot deliver notifications to {url} ({why}): make that URL \
                 reachable from the manager, or give another with advertise() or notification_url()"
            )
        });
        if let Some(message) = message.as_ref().filter(|_| message != self.undelivered) {
            tracing::warn!("{message}");
        }
        self.undelivered = message;
    }

    /// Tells the process how things stand, and the log what changed.
    fn publish(&mut self) {
        let notifications = match &self.undelivered {
            Some(why) if !self.has_heard() => Notifications::Failing(why.clone()),
            _ if self.links.feed.heard() > 0 => Notifications::Arriving,
            _ => Notifications::Quiet,
        };
        let (phase, trouble) = described(self.course.stage());
        let registration = self.course.registration();
        let now = Standing {
            phase,
            trouble,
            manager: self.course.manager().to_string(),
            registration_id: registration.map(|registration| registration.id),
            registry_id: registration.map(|registration| registration.registry_id.clone()),
            registrations: self.registrations,
            notifications,
        };
        self.links.standing.send_if_modified(|standing| {
            if *standing == now {
                return false;
            }
            log(standing, &now);
            *standing = now;
            true
        });
    }
}

fn described(stage: &Stage) -> (Phase, Option<String>) {
    match stage {
        Stage::Joining(fault) => (Phase::Joining, fault.clone()),
        Stage::Registered => (Phase::Registered, None),
        Stage::Away(fault) => (Phase::Away, Some(fault.clone())),
        Stage::Stuck(trouble) => (Phase::Stuck, Some(trouble.to_string())),
        Stage::Leaving => (Phase::Leaving, None),
        Stage::Left(fault) => (Phase::Left, fault.clone()),
    }
}

/// One line for each change of phase; a trouble that goes on is told once.
fn log(before: &Standing, now: &Standing) {
    let is_new_phase = before.phase != now.phase;
    let has_new_id = before.registration_id != now.registration_id;
    let manager = &now.manager;
    let trouble = now.trouble.as_deref().unwrap_or_default();
    match now.phase {
        Phase::Registered if is_new_phase || has_new_id => {
            tracing::info!(manager, registration_id = now.registration_id, "registered");
        }
        Phase::Joining if before.trouble.is_none() && now.trouble.is_some() => {
            tracing::warn!("not registered yet, it is being tried again: {trouble}");
        }
        Phase::Away if is_new_phase => {
            tracing::warn!("the view is kept and registering is tried again: {trouble}");
        }
        Phase::Stuck if is_new_phase || before.trouble != now.trouble => {
            tracing::error!("{trouble}");
        }
        Phase::Left if is_new_phase && now.trouble.is_some() => {
            tracing::warn!("not unregistered, the manager will find out by its checks: {trouble}");
        }
        Phase::Left if is_new_phase => tracing::info!("unregistered"),
        Phase::Joining
        | Phase::Registered
        | Phase::Away
        | Phase::Stuck
        | Phase::Leaving
        | Phase::Left => {}
    }
}

/// The request of a call. Names keep the grammar, so that nothing needs escaping.
fn question(call: Call, profile: &Profile, host: &str) -> Question {
    let Profile { service, pod, instance_id, .. } = profile;
    let who = format!("service_name={service}&pod_name={pod}");
    let (method, target, body) = match call {
        Call::Register => {
            let body = serde_json::to_vec(&profile.request(host));
            let body = Bytes::from(body.expect("texts and numbers always have a JSON form"));
            (Method::POST, paths::REGISTER.to_owned(), Some(body))
        }
        Call::Heartbeat => (Method::POST, format!("{}?{who}", paths::HEARTBEAT), None),
        Call::Inspect => {
            let target = paths::POD.replace("{service}", service).replace("{pod}", pod);
            (Method::GET, target, None)
        }
        Call::Unregister(id) => {
            let id = id.map_or_else(String::new, |id| format!("&registration_id={id}"));
            let target = format!("{}?{who}{id}&instance_id={instance_id}", paths::UNREGISTER);
            (Method::DELETE, target, None)
        }
    };
    Question { method, target, body }
}

/// How long a request may take, unless told otherwise: longer than the manager's own 8 s, so that
/// its answer is heard even if it is "nobody knows".
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
