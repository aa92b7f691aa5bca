//! Which of our crates may depend on which of our crates.
//!
//! A room is known by its folder, not by its package's name. Dev-dependencies are free:
//! tests may reach anywhere, and cargo itself refuses what would be circular.
//! INVARIANT: a folder that the table does not name may depend on nothing of ours, so a
//! new room has to be written down here before it can be used.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Violation;
use crate::process;

/// Folder, and the folders its normal and build dependencies may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("crates/domain", &[]),
    ("crates/api", &[]),
    ("crates/store", &["crates/domain"]),
    ("crates/manager", &["crates/domain", "crates/api", "crates/store"]),
    ("crates/client", &["crates/api"]),
    ("crates/govctl", &["crates/client", "crates/api"]),
    ("crates/telco-codec", &[]),
    ("crates/telco-node", &["crates/client", "crates/telco-codec"]),
    ("crates/bench", &["crates/api", "crates/domain", "crates/store", TESTKIT]),
    ("xtask", &[]),
];
/// Every folder below it is a managed service; all have the same edges.
const SERVICES: &str = "services/";
const SERVICE_MAY: &[&str] =
    &["crates/client", "crates/api", "crates/telco-codec", "crates/telco-node"];
/// Test-only: may see everything, and only `bench` may ship it.
const TESTKIT: &str = "crates/testkit";

/// Asks cargo for the workspace's manifests and judges them.
pub(super) fn check(root: &Path) -> Result<Vec<Violation>> {
    const ARGUMENTS: &[&str] = &["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let json = process::output(&mut process::cargo(root, ARGUMENTS))?;
    let metadata: Value = serde_json::from_slice(&json).context("cargo metadata")?;
    let manifest = |folder: &str| {
        let path = root.join(folder).join("Cargo.toml");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    violations(&metadata, manifest)
}

/// `manifest` gives the text of a folder's Cargo.toml, to name the line.
fn violations(metadata: &Value, manifest: impl Fn(&str) -> String) -> Result<Vec<Violation>> {
    let root = metadata
        .get("workspace_root")
        .and_then(Value::as_str)
        .context("cargo metadata names no workspace root")?;
    let folder_of = |path: &str| -> Option<String> {
        let inside = Path::new(path).strip_prefix(root).ok()?;
        Some(inside.to_string_lossy().replace('\\', "/"))
    };
    let packages = metadata.get("packages").and_then(Value::as_array);
    let mut found = Vec::new();
    for package in packages.context("cargo metadata names no packages")? {
        let file = text(package, "manifest_path")?;
        let folder = Path::new(file).parent().and_then(Path::to_str);
        let folder = folder.and_then(folder_of).context("a package outside")?;
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        for dependency in dependencies.into_iter().flatten() {
            let is_dev = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            let path = dependency.get("path").and_then(Value::as_str);
            let Some(target) = path.and_then(folder_of) else {
                continue;
            };
            if is_dev || is_allowed(&folder, &target) {
                continue;
            }
            let name = text(dependency, "name")?;
            found.push(Violation {
                file: format!("{folder}/Cargo.toml"),
                line: line_of(&manifest(&folder), name),
                rule: format!("`{folder}` must not depend on `{target}`"),
            });
        }
    }
    Ok(found)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("cargo metadata: no {key}"))
}

fn is_allowed(folder: &str, target: &str) -> bool {
    if folder == TESTKIT {
        return true;
    }
    if folder.starts_with(SERVICES) {
        return SERVICE_MAY.contains(&target);
    }
    ALLOWED.iter().any(|(room, below)| *room == folder && below.contains(&target))
}

/// The first line that begins with the dependency's name; 1 if it is written another way.
fn line_of(manifest: &str, name: &str) -> usize {
    let line = manifest.lines().position(|line| {
        let rest = line.trim_start().strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    });
    line.map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(folder: &str, target: &str, kind: Option<&str>) -> Vec<Violation> {
        let metadata = json!({
            "workspace_root": "/w",
            "packages": [{
                "manifest_path": format!("/w/{folder}/Cargo.toml"),
                "dependencies": [
                    {"name": "serde", "kind": null},
                    {"name": "ours", "kind": kind, "path": format!("/w/{target}")},
                ],
            }],
        });
        violations(&metadata, |_| {
            "[dependencies]\nserde = \"1\"\nours.workspace = true\n".to_owned()
        })
        .unwrap()
    }

    #[test]
    fn an_edge_that_points_up_is_named_with_file_and_line() {
        let expected = Violation {
            file: "crates/store/Cargo.toml".to_owned(),
            line: 3,
            rule: "`crates/store` must not depend on `crates/manager`".to_owned(),
        };
        assert_eq!(judged("crates/store", "crates/manager", None), [expected]);
    }

    #[test]
    fn edges_that_point_down_pass() {
        for (folder, target) in [
            ("crates/manager", "crates/store"),
            ("crates/store", "crates/domain"),
            ("crates/govctl", "crates/client"),
            ("services/eir", "crates/telco-codec"),
            ("crates/bench", "crates/testkit"),
            ("crates/testkit", "crates/manager"),
        ] {
            assert_eq!(judged(folder, target, None), [], "{folder} -> {target}");
        }
    }

    #[test]
    fn edges_that_point_up_or_sideways_do_not_pass() {
        for (folder, target) in [
            ("crates/domain", "crates/api"),
            ("crates/api", "crates/domain"),
            ("crates/client", "crates/domain"),
            ("crates/telco-codec", "crates/api"),
            ("services/eir", "crates/store"),
            ("crates/a-room-nobody-wrote-down", "crates/api"),
        ] {
            assert_eq!(judged(folder, target, None).len(), 1, "{folder} -> {target}");
        }
    }

    #[test]
    fn testkit_is_for_tests_only() {
        let kit = "crates/testkit";
        assert_eq!(judged("crates/manager", kit, Some("dev")), []);
        assert_eq!(judged("crates/manager", kit, None).len(), 1);
        assert_eq!(judged("crates/manager", kit, Some("build")).len(), 1);
    }
}
