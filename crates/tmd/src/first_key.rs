//! `tmd first-key NAME`: makes an API key without a running node. Whoever may read a node's configuration and data owns
//! the node; over the network a key is needed to make a key.

use std::sync::Arc;

use anyhow::Result;
use base::Scope;
use base::config::Config;
use net::{Audit, Connector, Policy};
use proto::admin::CreateKeyRequest;

use crate::at_rest;
use crate::keys::records;
use crate::node::{identity, open_store};

/// Makes the key `name` in the store of `config`, which may do everything where no scope is named; gives its text, which is
/// shown this once.
pub async fn make(config: &Config, name: String, mut scopes: Vec<String>) -> Result<String> {
    if scopes.is_empty() {
        scopes.push(Scope::Admin.to_string());
    }
    let key = records::wanted(&CreateKeyRequest { name, scopes, ..CreateKeyRequest::default() })?;
    let connector = Connector::new(Arc::new(Policy::new(&config.privacy)?), Audit::new());
    std::fs::create_dir_all(&config.node.data_dir)?;
    // What a damaged store lost is told when the node starts.
    let identity = identity(config)?;
    let seal = at_rest::seal(config)?;
    let store = open_store(config, &connector, identity.as_deref(), &seal, &mut Vec::new()).await?;
    let saved = records::save(&store, &key.record).await;
    store.close().await;
    saved?;
    Ok(key.shown)
}
