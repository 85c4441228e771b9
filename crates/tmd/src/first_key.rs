//! `tmd first-key NAME`: makes an API key without a running node. Whoever may read a node's configuration and data owns
//! the node; over the network a key is needed to make a key.

use std::sync::Arc;

use anyhow::Result;
use base::config::Config;
use net::keys::Key;
use net::{Audit, Connector, Policy};

use crate::node::open_store;
use crate::settings;

/// Makes the key `name` in the store of `config`; gives its text, which is shown this once.
pub async fn make(config: &Config, name: &str) -> Result<String> {
    settings::check_key_name(name)?;
    let connector = Connector::new(Arc::new(Policy::new(&config.privacy)?), Audit::new());
    std::fs::create_dir_all(&config.node.data_dir)?;
    // What a damaged store lost is told when the node starts.
    let store = open_store(config, &connector, &mut Vec::new())?;
    let key = Key::generate(name)?;
    let saved = settings::save_key(&store, &key.record).await;
    store.close().await;
    saved?;
    Ok(key.shown)
}
