//! The command line as a value.
//!
//! Parsed by hand: six commands and two options do not pay for a parser crate that
//! would have to be compiled before the first check. No I/O here.

use crate::fuzz::{Run, World};
use crate::gate::{self, OnFailure};

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage text.
    Help,
    /// Run the gate; an empty `only` means every step.
    Check { only: Vec<String>, on_failure: OnFailure },
    /// Run the tests; an empty list means all of them and the doctests.
    Test { filters: Vec<String> },
    /// Write the generated documents anew.
    Docs,
    /// Show the composition at work.
    Demo,
    /// schemathesis with these seeds; an empty list means what the gate does.
    Fuzz { seeds: Vec<u64> },
    /// One run of it, in a network of its own: for `fuzz` alone, and not in the usage text.
    FuzzInside(Run),
}

/// Reads the arguments after the program's name; the error is a sentence for the user.
pub(crate) fn parse(given: &[String]) -> Result<Task, String> {
    let Some((command, rest)) = given.split_first() else {
        return Err("no command given".to_owned());
    };
    match command.as_str() {
        "help" | "--help" | "-h" => Ok(Task::Help),
        "check" => parse_check(rest),
        "test" => parse_test(rest),
        "docs" if rest.is_empty() => Ok(Task::Docs),
        "docs" => Err("`docs` takes no arguments".to_owned()),
        "demo" if rest.is_empty() => Ok(Task::Demo),
        "demo" => Err("`demo` takes no arguments".to_owned()),
        "fuzz" => rest
            .iter()
            .map(|word| number(word))
            .collect::<Result<_, _>>()
            .map(|seeds| Task::Fuzz { seeds }),
        "fuzz-inside" => parse_run(rest).map(Task::FuzzInside),
        other => Err(format!("unknown command `{other}`")),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is no number that fits"))
}

fn parse_run(rest: &[String]) -> Result<Run, String> {
    let [world, seed, cases] = rest else {
        return Err("`fuzz-inside` is for `fuzz`".to_owned());
    };
    let world = World::parse(world).ok_or_else(|| format!("there is no world `{world}`"))?;
    Ok(Run { world, seed: number(seed)?, cases: number(cases)? })
}

fn parse_test(rest: &[String]) -> Result<Task, String> {
    if let Some(option) = rest.iter().find(|word| word.starts_with('-')) {
        return Err(format!("`test` takes name filters only, not `{option}`"));
    }
    Ok(Task::Test { filters: rest.to_vec() })
}

fn parse_check(rest: &[String]) -> Result<Task, String> {
    let mut only = Vec::new();
    let mut on_failure = OnFailure::Stop;
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--keep-going" => on_failure = OnFailure::KeepGoing,
            "--only" => only.extend(step_names(words.next())?),
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    Ok(Task::Check { only, on_failure })
}

/// `--only fmt,edges` names steps by comma; each must exist, or a typing error would pass.
fn step_names(value: Option<&String>) -> Result<Vec<String>, String> {
    let value = value.ok_or("`--only` needs the name of a step")?;
    let names: Vec<String> = value.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !gate::knows(name)) {
        Some(unknown) => Err(format!("there is no step `{unknown}`")),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn check_without_options_runs_every_step_and_stops_at_the_first_failure() {
        let expected = Task::Check { only: Vec::new(), on_failure: OnFailure::Stop };
        assert_eq!(parsed("check"), Ok(expected));
    }

    #[test]
    fn only_takes_a_list_and_may_be_repeated() {
        let expected = Task::Check {
            only: ["fmt", "edges", "words"].map(str::to_owned).to_vec(),
            on_failure: OnFailure::KeepGoing,
        };
        assert_eq!(parsed("check --only fmt,edges --keep-going --only words"), Ok(expected));
    }

    #[test]
    fn a_step_that_does_not_exist_is_refused_instead_of_passing() {
        assert!(parsed("check --only fmr").unwrap_err().contains("`fmr`"));
        assert!(parsed("check --only").is_err());
    }

    #[test]
    fn a_run_of_fuzz_is_told_whole() {
        let run = Run { world: World::Guarded, seed: 7, cases: 30 };
        assert_eq!(parsed("fuzz-inside guarded 7 30"), Ok(Task::FuzzInside(run)));
        assert_eq!(parsed("fuzz 7 8"), Ok(Task::Fuzz { seeds: vec![7, 8] }));
    }

    #[test]
    fn anything_unknown_is_refused() {
        for line in [
            "",
            "chek",
            "check --fast",
            "docs now",
            "demo 2",
            "test --release",
            "fuzz x",
            "fuzz -1",
            "fuzz-inside open 1",
        ] {
            assert!(parsed(line).is_err(), "{line:?} was accepted");
        }
    }
}
