//! Projects on the real stores: sled on a disk and etcd, with nodes that cross each other, die, and lose sight of the
//! store.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crossing;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod history;
#[cfg(test)]
mod import;
#[cfg(test)]
mod life;
#[cfg(test)]
mod once;
#[cfg(test)]
mod plan_crash;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod store_with_faults;
#[cfg(test)]
#[path = "../../../jobs/tests/it/stores.rs"]
mod stores;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod work;
