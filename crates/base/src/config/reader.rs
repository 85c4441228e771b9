//! Being written.
pub struct ConfigFault;
pub struct ConfigFaults;
pub struct Sources;
