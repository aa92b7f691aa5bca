//! What is made from the command line itself: completions, manual pages, the reference.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::scene::{compare, govctl, note};

const COMMANDS: &[&str] = &[
    "services",
    "pods",
    "pod",
    "register",
    "unregister",
    "watch",
    "audit",
    "subscribers",
    "explain",
    "status",
    "export",
    "import",
    "check-config",
    "completions",
    "man",
];

/// Runs a program on a text; none if it is not installed.
fn judged(program: &str, words: &[&str], text: &str) -> Option<std::process::Output> {
    let started = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn completions_parse_in_their_shells_and_name_every_command() {
    for (shell, words) in [
        ("bash", &["-n"][..]),
        ("zsh", &["-n"]),
        ("fish", &["--no-execute"]),
        ("elvish", &[]),
        ("powershell", &[]),
    ] {
        let ran = govctl(&["completions", shell], &[], "");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in COMMANDS {
            assert!(ran.stdout.contains(command), "{shell} does not complete {command}");
        }
        if words.is_empty() {
            continue;
        }
        match judged(shell, words, &ran.stdout) {
            Some(output) => assert!(output.status.success(), "{shell}: {output:?}"),
            None => assert_ne!(shell, "bash", "bash is part of every Debian"),
        }
    }
    let mut transcript = String::new();
    let words = ["completions", "fish"];
    let mut ran = govctl(&words, &[], "");
    // What is completed first; the options come again for every command.
    let is_first = |line: &&str| line.contains("__fish_govctl_needs_command\"");
    ran.stdout = ran.stdout.lines().filter(is_first).flat_map(|line| [line, "\n"]).collect();
    note(&mut transcript, &words, &ran);
    let words = ["completions", "tcl"];
    note(&mut transcript, &words, &govctl(&words, &[], ""));
    compare("completions", &transcript);
}

#[test]
fn bash_completes_a_command_and_its_options() {
    let script = govctl(&["completions", "bash"], &[], "").stdout;
    let asked = format!(
        "{script}\nCOMP_WORDS=(govctl ex); COMP_CWORD=1; _govctl govctl ex govctl\n\
         echo \"${{COMPREPLY[*]}}\"\n\
         COMP_WORDS=(govctl unregister --reg); COMP_CWORD=2; _govctl govctl --reg unregister\n\
         echo \"${{COMPREPLY[*]}}\"\n"
    );
    let output = judged("bash", &["--norc"], &asked).expect("bash is part of every Debian");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "explain export\n--registration-id\n", "{:?}", output.stderr);
}

#[test]
fn manual_pages_parse_without_a_warning() {
    let mut pages = vec![(govctl(&["man"], &[], "").stdout, "govctl".to_owned())];
    for command in COMMANDS {
        let ran = govctl(&["man", command], &[], "");
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command}");
        pages.push((ran.stdout, format!("govctl-{command}")));
    }
    for (page, name) in &pages {
        assert!(page.contains(&format!(".TH {name} 1")), "{name}: {page}");
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH DESCRIPTION"), "{name}");
        // Debian's minimal images have no groff; the gate's machine has.
        let Some(output) = judged("groff", &["-man", "-ww", "-Tutf8", "-z"], page) else {
            continue;
        };
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints}");
    }
    for command in COMMANDS {
        let named = command.replace('-', "\\-");
        assert!(pages[0].0.contains(&named), "the main page does not name {command}");
    }
    let mut transcript = String::new();
    for words in [["man", "unregister"], ["man", "frobnicate"]] {
        note(&mut transcript, &words, &govctl(&words, &[], ""));
    }
    compare("man", &transcript);
}

#[test]
fn help_is_the_same_text_everywhere() {
    let mut transcript = String::new();
    for words in [&["--help"][..], &["explain", "--help"], &["--version"]] {
        note(&mut transcript, words, &govctl(words, &[], ""));
    }
    compare("help", &transcript);
}

#[test]
fn the_reference_in_docs_is_the_current_one() {
    let ran = govctl(&["reference"], &[], "");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/govctl.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(ran.stdout == found, "docs/govctl.md is stale: run `cargo xtask docs`");
}
