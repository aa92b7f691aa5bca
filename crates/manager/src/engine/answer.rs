//! What a command is answered once it was decided, and stored if there was something to store.

use std::sync::Arc;

use governance_domain::{Change, Decision, Rejection, Revision};
use tracing::warn;

use super::figures::{CommandKind, CommandResult, Figures};
use super::handle::{Registered, SubmitError, Unregistered};
use super::inbox::{Pending, Request};
use super::snapshot::Snapshot;

/// Sends a command its own answer. A caller that is gone needs none.
pub(super) fn answer(
    figures: &Figures,
    pending: Pending,
    verdict: Option<Result<Decision, Rejection>>,
    revision: Option<Revision>,
    snapshot: &Arc<Snapshot>,
) {
    let Some(verdict) = verdict else { return };
    let is_changed = revision.is_some();
    let revision = revision.unwrap_or_else(|| snapshot.revision());
    let registration_id = match verdict {
        Err(rejection) => return pending.fail(SubmitError::Rejected(rejection)),
        Ok(Decision::Unchanged(id)) => id,
        Ok(Decision::Changed(Change::PodRegistered { pod })) => pod.registration_id,
        Ok(Decision::Changed(
            Change::PodAmended { registration_id, .. }
            | Change::PodUnregistered { registration_id, .. }
            | Change::PodEvicted { registration_id, .. },
        )) => registration_id,
    };
    match pending.request {
        Request::Register { reply, .. } => {
            let snapshot = Arc::clone(snapshot);
            drop(reply.send(Ok(Registered { registration_id, revision, snapshot, is_changed })));
        }
        Request::Unregister { reply, .. } => {
            drop(reply.send(Ok(Unregistered { registration_id, revision })));
        }
        Request::Evict { command } => {
            figures.note_command(CommandKind::Evict, CommandResult::Applied);
            warn!(pod = %command.key, "removed: it failed too many checks in a row");
        }
    }
}
