//! The knowledge base from outside: real disks, real stores, processes that die.

#[cfg(test)]
mod again;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod folders;
#[cfg(test)]
mod injections;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod library;
#[cfg(test)]
mod library_crash;
#[cfg(test)]
mod library_faults;
#[cfg(test)]
mod library_writer;
#[cfg(test)]
mod loops;
#[cfg(test)]
mod quality;
#[cfg(test)]
#[path = "../../../extract/tests/it/reader.rs"]
mod reader;
#[cfg(test)]
#[path = "../../../planner/tests/it/store_with_faults.rs"]
mod store_with_faults;
#[cfg(test)]
#[path = "../../../jobs/tests/it/stores.rs"]
mod stores;
#[cfg(test)]
mod vectors_crash;
