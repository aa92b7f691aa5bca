//! The configuration as a whole: what arguments, environment and files make of it.

use std::ffi::OsString;

use super::{Config, ConfigError, Invocation, invocation};

mod faults;
mod file;
mod merge;
mod printing;

fn invoke(args: &[&str], env: &[(&str, &str)]) -> Result<Invocation, ConfigError> {
    let args = ["governance-manager"].iter().chain(args).map(OsString::from);
    invocation(args, env.iter().map(|(name, value)| (name.into(), value.into())))
}

fn config(args: &[&str], env: &[(&str, &str)]) -> Config {
    match invoke(args, env) {
        Ok(Invocation::Run(config, _)) => *config,
        other => panic!("not a configuration: {other:?}"),
    }
}

fn printed(args: &[&str], env: &[(&str, &str)]) -> String {
    match invoke(args, env) {
        Ok(Invocation::Print(text)) => text,
        other => panic!("nothing to print: {other:?}"),
    }
}

fn faults(env: &[(&str, &str)]) -> String {
    invoke(&[], env).expect_err("a fault").to_string()
}

/// A file with the certificate of a CA.
fn authority() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let authority = governance_testkit::certificates::TestCa::new().unwrap();
    std::fs::write(file.path(), authority.certificate).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

/// A directory that holds one configuration file, and the file's path.
fn file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("governance.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

fn with_file(text: &str) -> Config {
    let (_dir, path) = file(text);
    config(&[], &[("CONFIG_FILE", &path)])
}

fn file_fault(text: impl AsRef<[u8]>) -> String {
    let (_dir, path) = file(text);
    faults(&[("CONFIG_FILE", &path)]).replace(&path, "FILE")
}
