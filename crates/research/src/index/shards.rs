//! A map whose copies share what they have in common: a reader keeps one moment, and a change copies only a small part.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// A change copies one of these; more would make every copy of the whole dearer.
const SHARDS: usize = 512;

type Shard<K, V> = HashMap<K, V, Xxh3DefaultBuilder>;

/// A map in parts that are shared until they change.
#[derive(Clone, Debug)]
pub struct Shards<K, V> {
    shards: Vec<Arc<Shard<K, V>>>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Arc::default()).collect() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(shard_of(key))?.get(key)
    }

    /// Puts a value.
    pub fn insert(&mut self, key: K, value: V) {
        if let Some(shard) = self.shards.get_mut(shard_of(&key)) {
            Arc::make_mut(shard).insert(key, value);
        }
    }

    /// Changes the value of `key`, an empty one where there was none; what is `is_nothing` afterwards goes.
    pub fn change(&mut self, key: K, change: impl FnOnce(&mut V), is_nothing: impl FnOnce(&V) -> bool)
    where
        V: Default,
    {
        let Some(shard) = self.shards.get_mut(shard_of(&key)) else { return };
        let shard = Arc::make_mut(shard);
        let value = shard.entry(key.clone()).or_default();
        change(value);
        if is_nothing(value) {
            shard.remove(&key);
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let shard = self.shards.get_mut(shard_of(key))?;
        shard.contains_key(key).then(|| Arc::make_mut(shard).remove(key)).flatten()
    }

    /// How many values there are; counts the parts.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.shards.iter().flat_map(|shard| shard.keys())
    }
}

fn shard_of<K: Hash>(key: &K) -> usize {
    // The low bits choose the place within a part.
    (Xxh3DefaultBuilder::new().hash_one(key) >> 40) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_was() {
        let mut map: Shards<u32, Vec<u32>> = Shards::default();
        (0..2000).for_each(|key| map.insert(key, vec![key]));
        let before = map.clone();
        map.change(7, |values| values.push(8), Vec::is_empty);
        map.change(9, Vec::clear, Vec::is_empty);
        assert_eq!(map.remove(&5), Some(vec![5]));
        assert_eq!((map.get(&7), map.get(&9), map.get(&5)), (Some(&vec![7, 8]), None, None));
        assert_eq!((before.get(&7), before.get(&9), before.get(&5)), (Some(&vec![7]), Some(&vec![9]), Some(&vec![5])));
        assert_eq!((map.len(), before.len(), map.keys().count()), (1998, 2000, map.values().count()));
    }
}
