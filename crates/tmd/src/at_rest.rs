//! How this node writes to disks: sealed with the key that the configuration names, or plain.

use base::config::{Config, ConfigFault, ConfigFaults};
use store::Seal;

/// The keys of the configuration. A file that cannot be used is a fault of it: without its key a node does not start.
pub fn seal(config: &Config) -> Result<Seal, ConfigFaults> {
    let Some(encryption) = &config.encryption else { return Ok(Seal::default()) };
    store::sealing::read(&encryption.key_file, &encryption.old_key_files).map_err(|fault| {
        ConfigFaults(vec![ConfigFault {
            field: "store.key_file".to_owned(),
            value: encryption.key_file.display().to_string(),
            problem: fault.message,
            hint: fault.hint.unwrap_or_default(),
        }])
    })
}
