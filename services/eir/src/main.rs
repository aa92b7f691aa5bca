//! The program: settings in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use eir::{Config, serve};
use telco_node::process::Program;

fn main() -> ExitCode {
    let program = Program { name: "eir", version: env!("CARGO_PKG_VERSION"), help: Config::HELP };
    program.run(Config::read, |config, stop| serve(config, stop, |_| ()))
}
