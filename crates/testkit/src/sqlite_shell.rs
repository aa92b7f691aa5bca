//! The `sqlite3` shell, as an operator uses it on the file of a manager that runs.
//!
//! Tests that use it need the Debian package `sqlite3`, and say so.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const MISSING: &str = "these tests need the sqlite3 shell (Debian package sqlite3)";

/// The rows that a query gives, each an object.
///
/// # Panics
/// When the shell is missing or refuses the query.
#[track_caller]
pub fn query(file: &Path, sql: &str) -> Vec<Value> {
    let shell = Command::new("sqlite3")
        .args(["-json", "-readonly", "-cmd", ".timeout 5000"])
        .arg(file)
        .arg(sql)
        .output()
        .expect(MISSING);
    let errors = String::from_utf8_lossy(&shell.stderr);
    assert!(shell.status.success(), "{sql}: {errors}");
    if shell.stdout.is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(&shell.stdout).expect("sqlite3 -json prints JSON")
}

/// A shell that holds the write lock of a file, until it lets go or is dropped.
#[derive(Debug)]
pub struct LockHolder(Child);

impl LockHolder {
    /// Returns when the lock is held.
    ///
    /// # Panics
    /// When it cannot be had.
    #[track_caller]
    pub fn start(file: &Path) -> Self {
        let mut shell = Command::new("sqlite3")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(MISSING);
        let input = shell.stdin.as_mut().expect("piped above");
        let script = b".timeout 5000\nBEGIN IMMEDIATE;\nSELECT 'held';\n";
        input.write_all(script).expect("the shell reads");
        let mut line = String::new();
        let output = shell.stdout.take().expect("piped above");
        BufReader::new(output).read_line(&mut line).expect("the shell writes");
        let holder = Self(shell);
        assert_eq!(line, "held\n");
        holder
    }

    /// Gives the lock back, with nothing changed.
    ///
    /// # Panics
    /// When the shell ended before.
    #[track_caller]
    pub fn let_go(mut self) {
        let mut input = self.0.stdin.take().expect("taken here alone");
        input.write_all(b"ROLLBACK;\n").expect("the shell reads");
        drop(input);
        assert!(self.0.wait().expect("the child is ours").success());
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
