//! The view on disk, for a cold start while no manager answers.
//!
//! Written beside and renamed, so that a reader finds a whole file or none; a file that cannot be
//! read is reported and ignored, because a view is a convenience and never a reason not to start.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use governance_api::PodSummary;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::deadline::Deadline;

use super::feed::{Fed, Feed, Snapshot};

/// The largest file that is read.
const FILE_MAX: u64 = 64 * 1024 * 1024;
/// The least time between two writes, so that a busy fleet does not mean a busy disk.
const PAUSE: Duration = Duration::from_secs(1);
/// The shape of the file; another number is not read.
const FORMAT: u32 = 1;

/// What stands in the file, and in the answer of `/subscribed-services`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    format: u32,
    registry_id: Option<String>,
    subscribed_services: BTreeMap<String, KeptService>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptService {
    revision: u64,
    pods: Vec<PodSummary>,
}

impl Kept {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let services = snapshot.groups.iter().map(|(service, group)| {
            let pods = group.pods.iter().map(|pod| pod.summary().clone()).collect();
            (service.to_string(), KeptService { revision: group.revision, pods })
        });
        let registry_id = snapshot.registry_id.as_deref().map(str::to_owned);
        Self { format: FORMAT, registry_id, subscribed_services: services.collect() }
    }
}

/// Feeds what an earlier process kept. Says in the log if there was nothing to be had.
pub(crate) fn restore(path: &Path, feed: &Feed) {
    match read(path) {
        Ok(kept) => {
            let Some(registry_id) = kept.registry_id else { return };
            let services = kept.subscribed_services.into_iter();
            let services = services.map(|(name, kept)| (name, (kept.revision, kept.pods)));
            if feed.restored(&registry_id, services.collect()) == Fed::Applied {
                tracing::info!(path = %path.display(), "starting with the view that was kept");
            }
        }
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => tracing::warn!(
            path = %path.display(),
            %fault,
            "the view that was kept cannot be used: starting with an empty one, the file will be \
             replaced"
        ),
    }
}

fn read(path: &Path) -> io::Result<Kept> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_MAX} bytes")));
    }
    let kept: Kept = serde_json::from_slice(&bytes)?;
    if kept.format != FORMAT {
        let text = format!("it has format {}, this program reads {FORMAT}", kept.format);
        return Err(io::Error::other(text));
    }
    Ok(kept)
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(&serde_json::to_vec(kept)?)?;
        // Without this a power failure may leave the new name with nothing in it.
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&beside, path));
    if renamed.is_err() {
        // It may never have come to be; the first fault is the one to report.
        let _ = std::fs::remove_file(&beside);
    }
    renamed
}

/// Writes every new state, at most one a second, and the last one when it is told to end.
pub(crate) async fn keep(path: PathBuf, feed: Arc<Feed>, mut closing: Deadline) {
    let mut versions = feed.versions();
    let mut has_failed = false;
    let path = Arc::new(path);
    let mut is_last = false;
    while !is_last {
        is_last = tokio::select! {
            changed = versions.changed() => changed.is_err(),
            _ = closing.told() => true,
        };
        versions.mark_unchanged();
        let (target, kept) = (Arc::clone(&path), Kept::of(&feed.snapshot()));
        let written = tokio::task::spawn_blocking(move || write(&target, &kept)).await;
        let fault = match written {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(fault) => Some(fault.to_string()),
        };
        if let Some(fault) = fault.as_ref().filter(|_| !has_failed) {
            let path = path.display();
            tracing::warn!(%path, fault, "the view cannot be kept: make the folder writable");
        }
        has_failed = fault.is_some();
        // Cut short at the end: what is then still unwritten follows at once.
        let _ = timeout(PAUSE, closing.told()).await;
    }
}
