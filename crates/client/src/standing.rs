//! How a pod's membership stands, for its own process to see.

/// Where a pod is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not registered yet, or not any more. It is being tried.
    Joining,
    /// Registered, and the manager answered when it was last asked.
    Registered,
    /// It was registered, and no manager can be reached, or none takes anything. The view stays as
    /// it is, and it is being tried.
    Away,
    /// The manager refuses the registration, or is not understood: somebody has to change
    /// something. It is being tried slowly.
    Stuck,
    /// It is being unregistered.
    Leaving,
    /// It is not registered any more, or could not be unregistered in time (`trouble` tells).
    Left,
}

/// Whether notifications arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notifications {
    /// Nothing is subscribed to, or none has come yet and the manager knows of no failure.
    Quiet,
    /// They arrive.
    Arriving,
    /// The manager cannot deliver them; why, and what to do about it.
    Failing(String),
}

/// One look at it; see [`Member::standing`](crate::Member::standing).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), governance_client::Error> {
/// # use governance_client::Member;
/// # let member = Member::builder("http-gw").pod("http-gw-1").manager("http://127.0.0.1:1")
/// #     .provides("http", 8080).subscribe("eir").listen("127.0.0.1:0").start().await?;
/// use governance_client::{Notifications, Phase};
///
/// let standing = member.standing();
/// assert_eq!(standing.phase, Phase::Joining);
/// assert_eq!((standing.registrations, standing.registration_id), (0, None));
/// assert_eq!(standing.notifications, Notifications::Quiet);
/// # member.shutdown().await
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Where it is.
    pub phase: Phase,
    /// Why it is not registered, in one sentence with what to do.
    pub trouble: Option<String>,
    /// The manager that is asked next.
    pub manager: String,
    /// The registration in force, as far as is known.
    pub registration_id: Option<u64>,
    /// The registry it is in.
    pub registry_id: Option<String>,
    /// How many registrations were answered, identical ones included.
    pub registrations: u64,
    /// Whether notifications arrive.
    pub notifications: Notifications,
}

impl Standing {
    pub(crate) fn beginning() -> Self {
        Self {
            phase: Phase::Joining,
            trouble: None,
            manager: String::new(),
            registration_id: None,
            registry_id: None,
            registrations: 0,
            notifications: Notifications::Quiet,
        }
    }
}
