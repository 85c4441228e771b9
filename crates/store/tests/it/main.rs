//! The store against the real things: sled on a disk, etcd of one and of three members, both under faults.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod bit_rot;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod etcd_faults;
#[cfg(test)]
mod etcd_process;
#[cfg(test)]
#[path = "../../../../tests/src/port.rs"]
mod port;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod sealed;
