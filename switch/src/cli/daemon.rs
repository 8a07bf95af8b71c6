//! `weft daemon`: runs the dataplane of this node, or only checks its configuration.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::USAGE;
use crate::config::{Config, DEFAULT_CONFIG, HostDefaults};
use crate::runtime::{Backend, daemon};

/// `weft daemon`
#[derive(Debug, Args)]
pub(super) struct DaemonCommand {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Only check the configuration
    #[arg(long)]
    check: bool,
    /// How pods' interfaces are opened
    #[arg(long, value_enum, value_name = "KIND", default_value_t)]
    tap: Backend,
    /// What to log to standard error: off, error, warn, info, debug, trace, or directives as in
    /// RUST_LOG, which counts where this is absent
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl DaemonCommand {
    pub(super) fn run(self) -> ExitCode {
        let config = match Config::load(&self.config, &HostDefaults::of_this_host()) {
            Ok(config) => config,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(USAGE);
            }
        };
        if self.check {
            println!("{}: ok", self.config.display());
            return ExitCode::SUCCESS;
        }
        if let Err(error) = self.log_to_stderr() {
            eprintln!("error: --log: {error}; write a level such as info");
            return ExitCode::from(USAGE);
        }
        match daemon::run(&config, self.tap) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: the daemon does not start: {error}");
                error.exit_code()
            }
        }
    }

    fn log_to_stderr(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let filter = match &self.log {
            Some(directives) => EnvFilter::try_new(directives)?,
            None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = !plain && std::io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(filter);
        log.with_ansi(colours).with_target(false).try_init()
    }
}
