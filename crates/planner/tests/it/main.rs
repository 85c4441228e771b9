//! Projects and work on them, over real stores.

mod work;
