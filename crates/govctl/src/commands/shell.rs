//! `govctl completions` and `govctl man`: made from the command line itself.

use clap::{Command, CommandFactory as _};

use crate::cli::Arguments;
use crate::fault::{Fault, Kind, Outcome};
use crate::screen::{Colour, Format, Screen};

/// Columns of the help in the document, whatever the terminal.
const REFERENCE_WIDTH: usize = 100;
const REFERENCE_HEAD: &str = "\
# The command line

Written by `cargo xtask docs`; edit `crates/govctl/src/cli.rs` instead. What the answers mean stands
in [api.md](api.md).

Results go to stdout; errors and remarks for people go to stderr:

```text
$ govctl pod eir eir-pod-3
error: pod eir:eir-pod-3 is not registered
hint: `govctl pods` shows who is registered, `govctl explain SERVICE POD` what became of it
```

`govctl export > pods.jsonl` and `govctl import pods.jsonl` move registrations from one manager to
another. A pod that is registered there already is kept as it is, because what it said itself is
newer, unless `--replace` says otherwise. What is shown of a pod has no `instance_id`, so an export
has none either.

A manager at `https` is believed if one of the CAs in `--ca-file`, else one of the system's, vouches for
the name in its URL. Who asks is said with a token or a client certificate; the manager judges by the
token if it gets one. How a manager is set up for that, and who gets which token, stands in
[operations](operations.md#secure-it):

```bash
export GOVERNANCE_URL=https://governance-1.example:8080,https://governance-2.example:8080
export GOVERNANCE_CA_FILE=/etc/governance/ca.crt
export GOVERNANCE_TOKEN_FILE=~/.config/governance/token
govctl services
```

There is no option for the token itself: `ps` shows the words of a command to everybody on the machine.
A token file that all of them can read is warned of. A token goes over plain `http` to this machine alone
(`localhost`, loopback addresses), also where a standby names the active manager; `--plain-token` allows
the rest. No error shows a token.

`govctl completions bash > /etc/bash_completion.d/govctl` and
`govctl man > /usr/local/share/man/man1/govctl.1` install what their names say.

";

pub(crate) fn completions(screen: Screen, shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "govctl", &mut script);
    screen.print(&String::from_utf8_lossy(&script))
}

/// The help of every command as a document: docs/govctl.md.
pub(crate) fn reference() -> Outcome {
    let screen = Screen::new(Format::Table, Colour::Never);
    let mut whole = Arguments::command().term_width(REFERENCE_WIDTH);
    whole.build();
    let mut parts = vec![REFERENCE_HEAD.to_owned(), block(&whole.render_long_help().to_string())];
    for command in whole.get_subcommands_mut() {
        parts.push(format!("## govctl {}\n\n", command.get_name()));
        // Options that every command has stand above.
        let own = command.clone().mut_args(|argument| {
            let is_common = argument.is_global_set() || argument.get_id() == "help";
            argument.hide(is_common)
        });
        parts.push(block(&own.term_width(REFERENCE_WIDTH).render_long_help().to_string()));
    }
    screen.print(&format!("{}\n", parts.concat().trim_end()))
}

fn block(help: &str) -> String {
    let lines: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n\n", lines.join("\n"))
}

/// The page of the whole program, or of one command.
pub(crate) fn man(screen: Screen, command: Option<&str>) -> Outcome {
    let mut whole = Arguments::command();
    whole.build();
    let page = match command {
        None => whole,
        Some(name) => page_of(&whole, name)?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    screen.print(&String::from_utf8_lossy(&text))
}

fn page_of(whole: &Command, name: &str) -> Result<Command, Fault> {
    let found = whole.get_subcommands().find(|command| command.get_name() == name);
    let found = found.ok_or_else(|| {
        let what = format!("there is no command {name:?}");
        Fault::new(Kind::Usage, what, "`govctl --help` shows all commands")
    })?;
    let page: &'static str = format!("govctl-{name}").leak();
    Ok(found.clone().name(page).version(env!("CARGO_PKG_VERSION")))
}
