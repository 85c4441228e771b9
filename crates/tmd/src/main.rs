//! The node daemon. `tmd --dev` runs one node on loopback with whatever engines it finds; `tmd --config FILE` runs what
//! the file says; `tmd check` and `tmd config` tell what it says.

mod actors;
mod benching;
mod command;
mod core;
mod desk;
mod failures;
#[cfg(feature = "faults")]
mod faults;
mod first_key;
mod fleet;
mod hints;
mod hooks;
mod metrics;
mod mode;
mod node;
mod peers;
mod placing;
mod planning;
mod remedies;
mod settings;
mod shelving;
mod spans;
mod telemetry;
#[cfg(test)]
mod testing;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Several crates link a TLS library; the first use must find one installed.
    net::install_default_provider();
    command::run()
}
