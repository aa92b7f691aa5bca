//! The program: settings in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use http_gw::{Config, serve};
use telco_node::process::Program;

fn main() -> ExitCode {
    let program =
        Program { name: "http-gw", version: env!("CARGO_PKG_VERSION"), help: Config::HELP };
    program.run(Config::read, |config, stop| serve(config, stop, |_| ()))
}
