//! What a backup is: a stream of frames that prove themselves ([`frames`]), inside a file of age ([`lock`]), written so that
//! a torn one never looks whole ([`folder`]).
//!
//! A server writes and reads the frames, and never sees how they are locked; `tmctl`, and the node that makes backups by
//! itself, lock them. Anybody with `age` and the key has the frames without this program.

pub mod folder;
pub mod frames;
pub mod lock;
pub mod look;
