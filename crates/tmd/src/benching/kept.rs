//! Measured speeds on this node's disk, by worker and identity of the model. One that cannot be read is as good as none.

use std::collections::HashMap;

use base::{Fault, ModelId, Result, WorkerId};
use store::Table;

use super::measure::Measured;

/// What was measured of a model at a worker; nothing where it is damaged.
pub fn of(table: &Table, worker: &WorkerId, model: &ModelId) -> Measured {
    match table.get(&key(worker, model)) {
        Ok(found) => found.and_then(|value| read(worker, &value)).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(worker = %worker, model = %model, error = ?error, "a measured speed is damaged");
            Measured::default()
        }
    }
}

/// What was measured of every model at a worker.
pub fn of_worker(table: &Table, worker: &WorkerId) -> HashMap<ModelId, Measured> {
    let prefix = key(worker, &ModelId::from(""));
    let mut all = HashMap::new();
    for found in table.scan(&prefix) {
        match found {
            Ok((key, value)) => {
                let model = key.get(prefix.len()..).and_then(|model| std::str::from_utf8(model).ok());
                if let (Some(model), Some(measured)) = (model, read(worker, &value)) {
                    all.insert(ModelId::from(model), measured);
                }
            }
            Err(error) => tracing::warn!(worker = %worker, error = ?error, "a measured speed is damaged"),
        }
    }
    all
}

/// Keeps what was measured; on the disk when this returns.
pub async fn keep(table: &Table, worker: &WorkerId, model: &ModelId, measured: &Measured) -> Result<()> {
    let value = serde_json::to_vec(measured)
        .map_err(|error| Fault::internal("could not write a measured speed").because(error))?;
    Ok(table.put_durable(&key(worker, model), &value).await?)
}

fn read(worker: &WorkerId, value: &[u8]) -> Option<Measured> {
    let read = serde_json::from_slice(value);
    read.inspect_err(|error| tracing::warn!(worker = %worker, %error, "a measured speed cannot be read")).ok()
}

/// No name of a worker has a zero byte.
fn key(worker: &WorkerId, model: &ModelId) -> Vec<u8> {
    [worker.as_str().as_bytes(), b"\0", model.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::measure::Bucket;
    use super::*;

    fn table() -> (tempfile::TempDir, Table) {
        let dir = tempfile::tempdir().unwrap();
        let table = store::Local::open(dir.path()).unwrap().store.table("speeds").unwrap();
        (dir, table)
    }

    #[tokio::test]
    async fn what_was_measured_is_found_by_worker_and_model() {
        let (_dir, table) = table();
        let bucket = Bucket { tokens: 128, decode_tok_s: Some(42.0), runs: 3, ..Bucket::default() };
        let measured = Measured { at_ms: 7, load_s: Some(3.5), buckets: vec![bucket] };
        let (worker, model) = (WorkerId::from("a/w"), ModelId::from("sha256:1"));
        keep(&table, &worker, &model, &measured).await.unwrap();
        keep(&table, &WorkerId::from("a/w2"), &model, &Measured::default()).await.unwrap();
        assert_eq!(of(&table, &worker, &model), measured);
        assert_eq!(of_worker(&table, &worker), HashMap::from([(model, measured)]));
        assert_eq!(of(&table, &worker, &ModelId::from("sha256:2")), Measured::default());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_left_out() {
        let (_dir, table) = table();
        let worker = WorkerId::from("a/w");
        table.put(&key(&worker, &"junk".into()), b"{\"buckets\": 7}").unwrap();
        keep(&table, &worker, &"good".into(), &Measured::default()).await.unwrap();
        assert_eq!(of_worker(&table, &worker).keys().collect::<Vec<_>>(), [&ModelId::from("good")]);
        assert_eq!(of(&table, &worker, &"junk".into()), Measured::default());
    }
}
