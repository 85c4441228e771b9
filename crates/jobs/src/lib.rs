//! Durable jobs: work in steps that survives the death of the node that does it.
