//! The files under `deploy/` name settings and programs that exist: a test, since nothing else here
//! reads them. What they mean to Docker, systemd and Kubernetes is checked by those programs' own
//! tools, which this repository does not bring.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Not ours: settings of the database's image.
const FOREIGN: &[&str] = &["POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD", "PGDATA"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn texts(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// Names in capitals that are given a value: `NAME: x`, `name: NAME` and `NAME=x`.
fn settings(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let words = line.split(|c: char| !is_name(c) && !c.is_ascii_lowercase());
        let is_setting = |word: &&str| {
            word.len() > 2
                && word.chars().all(is_name)
                && word.starts_with(|c: char| c.is_ascii_uppercase())
        };
        let takes_value = |word: &str| {
            let after = line.split_once(word).map(|(_, after)| after).unwrap_or_default();
            after.starts_with([':', '=']) || line.contains(&format!("name: {word}"))
        };
        found.extend(words.filter(is_setting).filter(|word| takes_value(word)).map(str::to_owned));
    }
    found
}

#[test]
fn every_setting_in_the_deployment_files_is_one_of_ours() {
    let mut sources = Vec::new();
    for folder in ["crates/telco-node/src", "crates/client/src", "services"] {
        texts(&root().join(folder), &mut sources);
    }
    let reference = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let known = |name: &str| {
        let quoted = format!("\"{name}\"");
        FOREIGN.contains(&name)
            || reference.contains(&format!("`{name}`"))
            // What the services read stands in quotes.
            || sources.iter().any(|(_, text)| text.contains(&quoted))
    };
    let mut files = Vec::new();
    texts(&root().join("deploy"), &mut files);
    let mut count = 0;
    // Scripts have variables of their own; their tests start them.
    for (path, text) in files.into_iter().filter(|(_, text)| !text.starts_with("#!")) {
        for name in settings(&text) {
            count += 1;
            assert!(known(&name), "{}: nothing reads {name}", path.display());
        }
    }
    assert!(count > 30, "only {count} settings found: the files are read wrongly");
}

#[test]
fn settings_are_found_however_they_are_written() {
    let text = "  A_NAME: x\n  - name: B_NAME\n  - {name: C_NAME, value: D}\nENV E_NAME=/x\n# F_NAME: x\n\
                Environment=G_NAME=x";
    let expected = ["A_NAME", "B_NAME", "C_NAME", "E_NAME", "G_NAME"];
    assert_eq!(settings(text), expected.map(str::to_owned).into());
}

#[test]
fn every_program_in_the_image_is_built_here() {
    let text = std::fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let programs = ["governance-manager", "http-gw", "diam-gw", "eir"];
    for program in programs {
        assert!(text.contains(&format!("-p {program}")), "{program} is not built");
        assert!(text.contains(&format!("release/{program}")), "{program} is not copied");
        let is_here =
            ["crates/manager", &format!("services/{program}")].into_iter().any(|folder| {
                let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml"));
                manifest.is_ok_and(|text| text.contains(&format!("name = \"{program}\"")))
            });
        assert!(is_here, "there is no package {program}");
    }
}
