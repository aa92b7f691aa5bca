//! The command line as it is written: commands, options, their help. What they do is in
//! `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::screen::{Colour, Format};

/// Asked when nobody says otherwise.
pub(crate) const MANAGER_DEFAULT: &str = "http://localhost:8080";
/// Names the managers in the environment.
pub(crate) const MANAGER_VARIABLE: &str = "GOVERNANCE_URL";

const MANAGER_HELP: &str = "The managers' URLs, http or https, with commas between them; the \
                            active one is found [default: $GOVERNANCE_URL, else \
                            http://localhost:8080]";
const TOKEN_HELP: &str = "A file with the token that says who asks. There is no option for the \
                          token itself, because `ps` shows options to everybody [default: \
                          $GOVERNANCE_TOKEN_FILE, or the token in $GOVERNANCE_TOKEN]";
const CA_HELP: &str = "The CAs that sign the certificates of managers at https, as PEM [default: \
                       $GOVERNANCE_CA_FILE, else the system's]";
const CERT_HELP: &str = "The client certificate, as PEM, for managers that ask for one [default: \
                         $GOVERNANCE_CERT_FILE]";
const KEY_HELP: &str = "The private key of the client certificate, as PEM [default: \
                        $GOVERNANCE_KEY_FILE]";
const PLAIN_HELP: &str = "Send the token also over http to other machines, where whoever reads the \
                          network reads it";
const ACTION_HELP: &str = "Only these actions, with commas between them: register, unregister, \
                           auto_cleanup, health_status_change, reconcile, takeover";
const AFTER_HELP: &str = "\
Environment:
  GOVERNANCE_URL         the managers, as --manager
  GOVERNANCE_TOKEN       the token itself
  GOVERNANCE_TOKEN_FILE  the file with the token, as --token-file
  GOVERNANCE_CA_FILE     the CAs of the managers, as --ca-file
  GOVERNANCE_CERT_FILE   the client certificate, as --cert-file
  GOVERNANCE_KEY_FILE    its private key, as --key-file
  NO_COLOR               no colours, if it is set and not empty

Exit codes:
  0  done
  1  refused by the manager, or failed
  2  wrong usage, or a file that cannot be used
  3  what was asked for is not there
  5  no manager answers";

/// The command line of the governance manager: who is registered, how they are, why, and what was
/// done.
#[derive(Debug, Parser)]
#[command(name = "govctl", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[arg(short, long, global = true, value_name = "URL[,URL]", help = MANAGER_HELP)]
    pub(crate) manager: Option<String>,
    /// How results look
    #[arg(short, long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,
    /// When there are colours
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: Colour,
    #[command(flatten)]
    pub(crate) access: AccessOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// No doc comment here: clap would take it for the program's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessOptions {
    #[arg(long, global = true, value_name = "FILE", help = TOKEN_HELP)]
    pub(crate) token_file: Option<PathBuf>,
    #[arg(long, global = true, value_name = "FILE", help = CA_HELP)]
    pub(crate) ca_file: Option<PathBuf>,
    #[arg(long, global = true, value_name = "FILE", help = CERT_HELP)]
    pub(crate) cert_file: Option<PathBuf>,
    #[arg(long, global = true, value_name = "FILE", help = KEY_HELP)]
    pub(crate) key_file: Option<PathBuf>,
    #[arg(long, global = true, help = PLAIN_HELP)]
    pub(crate) plain_token: bool,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Which services there are, and how many of their pods are healthy
    Services,
    /// Which pods there are, of all services or of one
    Pods(PodsOptions),
    /// One pod: what it registered, its checks, what it was told
    Pod(PodName),
    /// Register pods from a file: one registration, an array of them, or one a line
    Register(RegisterOptions),
    /// Remove a pod
    Unregister(UnregisterOptions),
    /// Follow what changes, a line per change, until interrupted
    Watch(WatchOptions),
    /// What was done to which pod, when, by whom and why; newest first
    Audit(AuditOptions),
    /// Who subscribes to a service, and who knows its current state
    Subscribers {
        /// Which service
        service: String,
    },
    /// Why a pod is in its state, what was tried, who knows of it, and whether it can be reached
    /// from here
    Explain(ExplainOptions),
    /// How each manager that was named is doing
    Status,
    /// Print every registration, one JSON document a line, as `import` reads it
    Export,
    /// Register every pod of an export that is not registered, and say for each what happened
    Import(ImportOptions),
    /// Check the manager's configuration in this environment, as the manager does at its start
    CheckConfig(CheckConfigOptions),
    /// Print a script that completes commands in a shell
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Of this command alone
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PodName {
    /// Of which service
    pub(crate) service: String,
    /// Which pod
    pub(crate) pod: String,
}

#[derive(Debug, Args)]
pub(crate) struct PodsOptions {
    /// Of this service alone
    pub(crate) service: Option<String>,
    /// Only pods of this status
    #[arg(long, value_enum)]
    pub(crate) status: Option<StatusWord>,
    /// Only pods with an endpoint of this protocol
    #[arg(long)]
    pub(crate) protocol: Option<String>,
    /// Only pods with this endpoint
    #[arg(long, value_name = "ID")]
    pub(crate) provider_id: Option<String>,
}

/// A status, as it is asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StatusWord {
    Healthy,
    Unhealthy,
    Unknown,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterOptions {
    /// The file with what is to be registered; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UnregisterOptions {
    #[command(flatten)]
    pub(crate) name: PodName,
    /// Only if this is still its registration
    #[arg(long, value_name = "ID")]
    pub(crate) registration_id: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// Of this service alone
    pub(crate) service: Option<String>,
    /// Begin behind this revision, if the manager still knows what followed it
    #[arg(long, value_name = "REVISION")]
    pub(crate) since: Option<u64>,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditOptions {
    /// Of this service alone
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Of this pod alone
    #[arg(long)]
    pub(crate) pod: Option<String>,
    #[arg(long, value_name = "ACTIONS", help = ACTION_HELP)]
    pub(crate) action: Option<String>,
    /// Only these results, with commas between them: success, failure, denied
    #[arg(long, value_name = "RESULTS")]
    pub(crate) result: Option<String>,
    /// From then on: a time of RFC 3339, or how long ago (90s, 15m, 1h, 7d)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Until then: the same
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// At most so many entries
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    #[command(flatten)]
    pub(crate) name: PodName,
    /// Open no connections to the pod from here
    #[arg(long)]
    pub(crate) no_connect: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// The file; - is standard input
    pub(crate) file: PathBuf,
    /// Register again what is registered already, as it stands in the file
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfigOptions {
    /// The configuration file, in place of `CONFIG_FILE`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The manager's program, if it is neither beside govctl nor in PATH
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
}

impl StatusWord {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
