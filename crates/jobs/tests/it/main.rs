//! Jobs on the real stores: sled on a disk and etcd, with nodes that die, stop, come late, and lose sight of the store.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod etcd_faults;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod suite;
