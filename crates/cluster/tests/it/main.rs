//! Whole clusters in one process: nodes with real `node.v1` servers on loopback, over a real etcd or over sled.

#[cfg(test)]
mod bed;
#[cfg(test)]
mod election;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod link;
#[cfg(test)]
mod membership;
#[cfg(test)]
#[path = "../../../../tests/src/port.rs"]
mod port;
