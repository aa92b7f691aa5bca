//! The file the list comes from: read at the start, looked at ever after, and read again when it is
//! another. A file that is wrong, half written or gone changes nothing but the log.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use tokio_util::sync::CancellationToken;

use crate::Current;
use crate::list::EquipmentList;

/// The largest file that is read.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The file and how it looked when it was last read.
pub(crate) struct Source {
    file: PathBuf,
    seen: Look,
}

/// What tells two versions of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Source {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be read or is no list: without one nothing should start.
    pub(crate) fn open(file: PathBuf) -> anyhow::Result<(Self, EquipmentList)> {
        let (seen, list) = read(&file)?;
        Ok((Self { file, seen }, list))
    }

    /// Looks at the file from time to time until `stop`.
    pub(crate) async fn follow(mut self, list: Current, look: Duration, stop: CancellationToken) {
        // Said once per fault, not at every look.
        let mut told = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(look) => (),
            }
            let (file, seen) = (self.file.clone(), self.seen);
            let looked = tokio::task::spawn_blocking(move || again(&file, seen)).await;
            match looked {
                Ok(Ok(Some((seen, fresh)))) => {
                    self.seen = seen;
                    told = None;
                    tracing::info!(file = %self.file.display(), entries = fresh.len(), "the list is another");
                    list.store(Arc::new(fresh));
                }
                Ok(Ok(None)) => told = None,
                Ok(Err(fault)) => {
                    let text = format!("{fault:#}");
                    if told.as_ref() != Some(&text) {
                        tracing::warn!(file = %self.file.display(), fault = text, "the list stays as it was");
                        told = Some(text);
                    }
                }
                Err(broken) => tracing::error!(%broken, "reading the list broke"),
            }
        }
    }
}

/// The list if the file is another one than seen.
fn again(file: &PathBuf, seen: Look) -> anyhow::Result<Option<(Look, EquipmentList)>> {
    let metadata = std::fs::metadata(file).context("cannot be looked at")?;
    if Look::of(&metadata) == seen {
        return Ok(None);
    }
    read(file).map(Some)
}

fn read(file: &PathBuf) -> anyhow::Result<(Look, EquipmentList)> {
    let mut opened = File::open(file).context("cannot be opened")?;
    let look = Look::of(&opened.metadata().context("cannot be looked at")?);
    let mut text = String::new();
    opened.by_ref().take(FILE_MAX + 1).read_to_string(&mut text).context("cannot be read")?;
    ensure!(text.len() as u64 <= FILE_MAX, "is larger than {FILE_MAX} bytes");
    Ok((look, EquipmentList::parse(&text)?))
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: metadata.modified().ok(), inode: metadata.ino() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_file_is_read_and_a_bad_one_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list");
        std::fs::write(&file, "35209900* white\n").unwrap();
        let (source, _) = Source::open(file.clone()).unwrap();
        assert!(again(&file, source.seen).unwrap().is_none());
        std::fs::write(&file, "35209900* white\n35209901* grey\n").unwrap();
        let (seen, list) = again(&file, source.seen).unwrap().unwrap();
        assert_eq!(list.len(), 2);
        std::fs::write(&file, "35209900* blue\n").unwrap();
        let fault = format!("{:#}", again(&file, seen).unwrap_err());
        assert!(fault.contains("line 1"), "{fault}");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(again(&file, seen).is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(again(&file, seen).is_err());
    }
}
