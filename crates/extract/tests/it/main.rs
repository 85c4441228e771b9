//! Readers from outside: real files of many kinds, hostile ones, children that hang and die.

#[cfg(test)]
mod child;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod samples;
