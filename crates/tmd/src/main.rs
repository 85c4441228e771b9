//! The node daemon. `tmd --dev` runs one node on loopback with whatever engines it finds; `tmd --config FILE` runs what
//! the file says; `tmd check` and `tmd config` tell what it says.

mod actors;
mod anchor;
mod at_rest;
mod backups;
mod benching;
mod certificates;
mod command;
mod core;
mod desk;
mod doing;
mod failures;
#[cfg(feature = "faults")]
mod faults;
mod features;
mod first_key;
mod fleet;
mod hints;
mod hooks;
mod instruments;
mod join_command;
mod keys;
mod load;
mod metrics;
mod mode;
mod node;
mod notify;
mod own_asks;
mod peers;
mod placing;
mod planning;
mod reload;
mod remedies;
mod research;
mod secrets;
mod settings;
mod shelving;
mod spans;
mod spending;
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
