//! The fake engine of the tests and of `make demo`, when it is asked for by its own name: it then speaks Ollama's
//! protocol. To try another protocol, start it with that one and give the worker that backend.

use base::report::Backend as Kind;

use super::{Traits, ollama};

pub(super) const TRAITS: Traits = Traits { kind: Kind::Fake, default_port: None, ..ollama::TRAITS };
