//! Projects and work on them, over real stores.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod work;
