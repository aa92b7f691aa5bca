//! The data directory: made if it is missing, locked for one manager, and the few small files in
//! it that are not the store's: who this manager is, and which storage was chosen.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A directory that this process holds alone, until it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked while it lives.
    _lock: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It is missing and cannot be made, or cannot be written to.
    #[error("the data directory {path} cannot be {what}")]
    NotWritable {
        /// Which directory.
        path: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another manager runs on it.
    #[error("the data directory {path} is in use by another manager")]
    Locked {
        /// Which directory.
        path: String,
    },
}

impl DataDirError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotWritable { .. } => {
                "make the directory writable for this user, or name another one with DATA_DIR"
            }
            Self::Locked { .. } => {
                "stop the other manager, or give this one a directory of its own with DATA_DIR \
                 (and another SERVER_PORT)"
            }
        }
        .to_owned()
    }
}

impl DataDir {
    /// Makes the directory if it is missing and locks it.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let fault = |what| {
            let path = path.display().to_string();
            move |source| DataDirError::NotWritable { path, what, source }
        };
        std::fs::create_dir_all(path).map_err(fault("made"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("manager.lock"))
            .map_err(fault("written to"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(DataDirError::Locked { path: path.display().to_string() })
            }
            Err(TryLockError::Error(source)) => Err(fault("locked")(source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who this manager is: the same after every restart on this directory.
    ///
    /// # Errors
    /// When the file can be neither read nor written.
    pub fn manager_id(&self) -> std::io::Result<Uuid> {
        if let Some(id) = self.read("manager-id").and_then(|text| Uuid::parse_str(&text).ok()) {
            return Ok(id);
        }
        let id = Uuid::new_v4();
        self.write("manager-id", &id.to_string())?;
        Ok(id)
    }

    /// The first line of a small file, if it is there.
    pub fn read(&self, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path.join(name)).ok()?;
        text.lines().next().map(|line| line.trim().to_owned())
    }

    /// Writes a small file whole: a reader finds the old or the new content, never half of it.
    ///
    /// # Errors
    /// When the directory cannot be written to.
    pub fn write(&self, name: &str, line: &str) -> std::io::Result<()> {
        let temporary = self.path.join(format!("{name}.new"));
        let mut file = File::create(&temporary)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_manager_on_one_directory_is_refused_until_the_first_ends() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("made/with/parents");
        let first = DataDir::open(&path).unwrap();
        let refusal = DataDir::open(&path).unwrap_err();
        assert!(matches!(refusal, DataDirError::Locked { .. }), "{refusal}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn manager_id_survives() {
        let parent = tempfile::tempdir().unwrap();
        let id = DataDir::open(parent.path()).unwrap().manager_id().unwrap();
        assert_eq!(DataDir::open(parent.path()).unwrap().manager_id().unwrap(), id);
    }

    #[test]
    fn path_that_is_a_file_is_not_writable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refusal = DataDir::open(file.path()).unwrap_err();
        assert!(matches!(refusal, DataDirError::NotWritable { .. }), "{refusal}");
    }
}
