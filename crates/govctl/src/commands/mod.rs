//! One file per command, or per two that are alike. Each asks, then prints; none knows another.

mod audit;
mod check_config;
mod exchange;
mod explain;
mod pod;
mod pods;
mod shell;
mod status;
mod subscribers;
mod watch;

pub(crate) use pods::word as status_word;
pub(crate) use shell::reference;

use governance_client::direct::Address;

use crate::cli::{Arguments, Command, MANAGER_DEFAULT, MANAGER_VARIABLE};
use crate::fault::Outcome;
use crate::identity::Identity;
use crate::managers::{self, Managers};
use crate::screen::Screen;

/// Does what was asked for.
pub(crate) async fn run(arguments: Arguments) -> Outcome {
    let screen = Screen::new(arguments.output, arguments.color);
    let managers = || {
        let named = managers::addresses(&named(arguments.manager.as_deref()))?;
        let identity = Identity::load(&arguments.access, named.iter().any(Address::is_tls))?;
        identity.warnings.iter().for_each(|warning| screen.remark(warning));
        Managers::new(named, identity)
    };
    match arguments.command {
        Command::Services => pods::services(screen, managers()?).await,
        Command::Pods(options) => pods::pods(screen, managers()?, options).await,
        Command::Pod(name) => pod::run(screen, managers()?, &name).await,
        Command::Register(options) => exchange::register(screen, managers()?, &options).await,
        Command::Unregister(options) => exchange::unregister(screen, managers()?, &options).await,
        Command::Watch(options) => watch::run(screen, managers()?, options).await,
        Command::Audit(options) => audit::run(screen, managers()?, &options).await,
        Command::Subscribers { service } => subscribers::run(screen, managers()?, &service).await,
        Command::Explain(options) => explain::run(screen, managers()?, &options).await,
        Command::Status => status::run(screen, managers()?).await,
        Command::Export => exchange::export(screen, managers()?).await,
        Command::Import(options) => exchange::import(screen, managers()?, &options).await,
        Command::CheckConfig(options) => check_config::run(&options),
        Command::Completions { shell } => shell::completions(screen, shell),
        Command::Man { command } => shell::man(screen, command.as_deref()),
    }
}

/// `--manager`, else the environment, else this machine. What is empty counts as not said.
fn named(option: Option<&str>) -> String {
    let said = option.map(str::to_owned);
    let environment = || std::env::var(MANAGER_VARIABLE).ok();
    let said = said.or_else(|| environment().filter(|text| !text.trim().is_empty()));
    said.unwrap_or_else(|| MANAGER_DEFAULT.to_owned())
}

/// Where the help of the command is that was written.
pub(crate) fn usage_hint() -> String {
    use clap::CommandFactory as _;
    let known = Arguments::command();
    let words = std::env::args().skip(1);
    let command = words.into_iter().find(|word| known.find_subcommand(word).is_some());
    match command {
        Some(command) => format!("`govctl {command} --help` shows how it is written"),
        None => "`govctl --help` shows all commands and options".to_owned(),
    }
}
