//! A pod that is part of the fleet: the handle on what runs in the background.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governance_api::{Provider, Subscription};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::deadline::Speaker;
use crate::error::Error;
use crate::notice::Receiver;
use crate::profile::Profile;
use crate::session::Renewal;
use crate::standing::{Phase, Standing};
use crate::view::{Changes, Feed, View};

/// How long [`Member::leave`] tries.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long [`Member::shutdown`] waits for requests under way.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What a member shares with its tasks.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) feed: Arc<Feed>,
    pub(crate) profile: Arc<Mutex<Arc<Profile>>>,
    pub(crate) renewals: mpsc::Sender<Renewal>,
    pub(crate) stop: Speaker,
    pub(crate) close: Speaker,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) listens: Option<SocketAddr>,
}

/// This process as a pod of a service: registered, kept registered, and told of the services it
/// subscribes to, until [`shutdown`](Member::shutdown).
///
/// Dropped without that, it ends at once and stays registered until the manager's checks have
/// failed long enough.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), governance_client::Error> {
/// use governance_client::{Member, Phase};
///
/// let member = Member::builder("http-gw")
///     .pod("http-gw-pod-1")
///     .manager("http://127.0.0.1:18080")
///     .provides("http", 8080)
///     .subscribe("diam-gw")
///     .listen("127.0.0.1:0")
///     .start()
///     .await?;
/// // No manager answers there; the service runs nevertheless.
/// assert_eq!(member.standing().phase, Phase::Joining);
/// assert!(member.view().pick("diam-gw").is_none());
/// member.shutdown().await
/// # }
/// ```
#[derive(Debug)]
pub struct Member {
    parts: Parts,
    receiver: Receiver,
    tasks: JoinSet<()>,
}

impl Member {
    /// Begins to describe a pod of this service.
    pub fn builder(service: impl Into<String>) -> Builder {
        Builder::new(service.into())
    }

    pub(crate) fn new(parts: Parts, receiver: Receiver, tasks: JoinSet<()>) -> Self {
        Self { parts, receiver, tasks }
    }

    /// What is known of the services subscribed to. The view may be kept, and outlives the member.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.parts.feed))
    }

    /// See [`View::changes`].
    pub fn changes(&self) -> Changes {
        self.view().changes()
    }

    /// How things stand.
    pub fn standing(&self) -> Standing {
        self.parts.standing.borrow().clone()
    }

    /// The same, with a way to wait for the next change of it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), governance_client::Error> {
    /// # use governance_client::Member;
    /// # let member = Member::builder("http-gw").pod("http-gw-1").manager("http://127.0.0.1:1")
    /// #     .provides("http", 8080).subscribe("eir").listen("127.0.0.1:0").start().await?;
    /// let mut standing = member.watch_standing();
    /// let tried = standing.wait_for(|standing| standing.trouble.is_some()).await;
    /// println!("{}", tried.unwrap().trouble.clone().unwrap_or_default());
    /// # member.shutdown().await
    /// # }
    /// ```
    pub fn watch_standing(&self) -> watch::Receiver<Standing> {
        self.parts.standing.clone()
    }

    /// Waits until the pod is registered; as long as it takes, if no manager answers. A service
    /// need not wait: it is registered as soon as that is possible.
    ///
    /// # Errors
    /// [`Error::Stuck`] when the manager refuses or is not understood, [`Error::Left`].
    pub async fn registered(&self) -> Result<(), Error> {
        let mut standing = self.parts.standing.clone();
        let is_decided = |standing: &Standing| {
            matches!(
                standing.phase,
                Phase::Registered | Phase::Stuck | Phase::Leaving | Phase::Left
            )
        };
        let Ok(standing) = standing.wait_for(is_decided).await else { return Err(Error::Left) };
        match standing.phase {
            Phase::Registered => Ok(()),
            Phase::Stuck => Err(Error::Stuck(standing.trouble.clone().unwrap_or_default())),
            Phase::Joining | Phase::Away | Phase::Leaving | Phase::Left => Err(Error::Left),
        }
    }

    /// Answers the manager's requests, for a service with a server of its own.
    pub fn receiver(&self) -> Receiver {
        self.receiver.clone()
    }

    /// Where the own listener is, if there is one.
    pub fn listens_on(&self) -> Option<SocketAddr> {
        self.parts.listens
    }

    /// The pod's name.
    pub fn pod(&self) -> String {
        self.profile().pod.clone()
    }

    /// The random id of this process, sent with every registration.
    pub fn instance_id(&self) -> String {
        self.profile().instance_id.clone()
    }

    /// Offers other endpoints from now on, and registers them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), governance_client::Error> {
    /// # use governance_client::Member;
    /// # let member = Member::builder("http-gw").pod("http-gw-1").manager("http://127.0.0.1:1")
    /// #     .provides("http", 8080).subscribe("eir").listen("127.0.0.1:0").start().await?;
    /// use governance_client::Provider;
    ///
    /// member.set_providers(vec![Provider::new("http", "127.0.0.1", 8081)])?;
    /// member.set_subscriptions(vec!["diam-gw".into()])?;
    /// member.set_address("localhost")?;
    /// assert!(member.set_providers(Vec::new()).is_err());
    /// # member.shutdown().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`]; nothing changes then.
    pub fn set_providers(&self, providers: Vec<Provider>) -> Result<(), Error> {
        self.change(|profile| profile.providers = providers)
    }

    /// Subscribes to other services from now on.
    ///
    /// # Errors
    /// [`Error::Invalid`]; nothing changes then.
    pub fn set_subscriptions(&self, subscriptions: Vec<Subscription>) -> Result<(), Error> {
        self.change(|profile| profile.subscriptions = subscriptions)
    }

    /// The own address is another one from now on. Needed only if it was given: one that was found
    /// out is followed by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`]; nothing changes then.
    pub fn set_address(&self, host: impl Into<String>) -> Result<(), Error> {
        self.change(|profile| profile.host = Some(host.into()))
    }

    fn profile(&self) -> Arc<Profile> {
        Arc::clone(&self.parts.profile.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Profile)) -> Result<(), Error> {
        let mut profile = self.parts.profile.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Profile::clone(&profile);
        change(&mut changed);
        let faults = changed.faults();
        if !faults.is_empty() {
            return Err(Error::Invalid(faults));
        }
        self.parts.feed.subscribe(changed.services());
        *profile = Arc::new(changed);
        // Full means that renewals wait, which will read what was just written.
        let _ = self.parts.renewals.try_send(Renewal::ContentChanged);
        Ok(())
    }

    /// Unregisters, with the ids of this registration and process, so that a successor of the same
    /// name is never removed. Tries for 10 s. The listener goes on answering, for what is under
    /// way; [`shutdown`](Member::shutdown) ends it.
    ///
    /// # Errors
    /// [`Error::NotUnregistered`].
    pub async fn leave(&self) -> Result<(), Error> {
        let until = Instant::now() + LEAVE_PATIENCE;
        self.parts.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(until);
            is_first
        });
        let mut standing = self.parts.standing.clone();
        let has_left = |standing: &Standing| standing.phase == Phase::Left;
        // The session ends after it has said so.
        let trouble = match standing.wait_for(has_left).await {
            Ok(standing) => standing.trouble.clone(),
            Err(_) => Some("its task ended before, the log says why".to_owned()),
        };
        trouble.map_or(Ok(()), |trouble| Err(Error::NotUnregistered(trouble)))
    }

    /// Leaves, then stops listening and waits up to 5 s for requests under way.
    ///
    /// # Errors
    /// [`Error::NotUnregistered`]; everything has ended nevertheless.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        let left = self.leave().await;
        let until = Instant::now() + DRAIN_PATIENCE;
        self.parts.close.send_replace(Some(until));
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout_at(until + DRAIN_PATIENCE, ended).await.is_err() {
            tracing::warn!("not everything ended in time");
        }
        left
    }
}
