//! Errors as they leave the process: a code, what could not be done and to what, and what to do next.
//!
//! [`Code`] alone decides HTTP status, gRPC status and exit code. Inside a crate, errors are small `thiserror` enums;
//! where they reach a client, a peer or a person they become a [`Fault`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The result of anything whose error may reach a client.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $http:literal $grpc:literal $exit:literal $retriable:literal;)*) => {
        /// Why something could not be done; stable text in every face, log and metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The stable text, such as `model_not_found`.
            pub const fn as_str(self) -> &'static str { match self { $(Code::$name => $text,)* } }
            /// The HTTP status.
            pub const fn http_status(self) -> u16 { match self { $(Code::$name => $http,)* } }
            /// The gRPC status number.
            pub const fn grpc_status(self) -> i32 { match self { $(Code::$name => $grpc,)* } }
            /// The exit code of `tmctl`.
            pub const fn exit_code(self) -> i32 { match self { $(Code::$name => $exit,)* } }
            /// Whether the same ask may well succeed elsewhere or later.
            pub const fn is_retriable(self) -> bool { match self { $(Code::$name => $retriable,)* } }
            /// Reads what [`Code::as_str`] wrote.
            pub fn parse(text: &str) -> Option<Code> { match text { $($text => Some(Code::$name),)* _ => None } }
        }
    };
}

codes! {
    /// The request is wrong in itself; sending it again changes nothing.
    InvalidArgument "invalid_argument" 400 3 1 false;
    /// No key, or one that is not known.
    Unauthenticated "unauthenticated" 401 16 1 false;
    /// Known, but not allowed: by scope, by mode, by policy.
    PermissionDenied "permission_denied" 403 7 1 false;
    /// A thing that was named does not exist.
    NotFound "not_found" 404 5 1 false;
    /// No worker of the cluster offers the model.
    ModelNotFound "model_not_found" 404 5 1 false;
    /// The method is not for this path.
    MethodNotAllowed "method_not_allowed" 405 12 1 false;
    /// Someone else changed it first, or it exists already.
    Conflict "conflict" 409 10 1 false;
    /// A write that carried an epoch of the past.
    StaleEpoch "stale_epoch" 409 9 1 false;
    /// Over a limit of size.
    TooLarge "too_large" 413 11 1 false;
    /// The prompt does not fit the model's context.
    ContextExceeded "context_exceeded" 400 11 1 false;
    /// The engine or this version cannot do it.
    NotSupported "not_supported" 501 12 1 false;
    /// Queues are full; come back later.
    Overloaded "overloaded" 429 8 1 true;
    /// Nobody can serve it right now.
    Unavailable "unavailable" 503 14 1 true;
    /// The time that the ask had is over.
    DeadlineExceeded "deadline_exceeded" 504 4 1 true;
    /// The engine answered with an error or with junk.
    EngineFailed "engine_failed" 502 14 1 true;
    /// The engine's answer stopped before its end.
    EngineCut "engine_cut" 502 14 1 true;
    /// The client went away.
    Cancelled "cancelled" 499 1 1 false;
    /// No room to write durably.
    StorageFull "storage_full" 507 8 1 true;
    /// The server cannot be reached; only `tmctl` and peers see it.
    Unreachable "unreachable" 503 14 3 true;
    /// A broken promise of our own code.
    Internal "internal" 500 13 1 false;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that may reach a client, a peer or a person.
#[derive(Clone)]
pub struct Fault {
    /// Decides every status.
    pub code: Code,
    /// What could not be done, and to what; lower case, no full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// When to come back, for refusals that are about load.
    pub retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    /// A fault with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retry_after: None, source: None }
    }

    /// [`Code::InvalidArgument`] with `message`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// [`Code::Unavailable`] with `message`.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// [`Code::Internal`] with `message`.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when to come back.
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds the cause, which is shown behind the message but never repeated in it.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The message with its causes, joined by `: `; for logs and faces.
    pub fn full_message(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// Whole seconds for a `Retry-After` header, at least 1.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_secs_f64().ceil().max(1.0) as u64)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.full_message())?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_has_a_status_of_an_error() {
        for &code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert!((1..=16).contains(&code.grpc_status()), "{code}");
        }
    }

    #[test]
    fn full_message_shows_each_cause_once() {
        let fault = Fault::unavailable("could not reach engine `ollama`").because(std::io::Error::other("refused"));
        assert_eq!(fault.full_message(), "could not reach engine `ollama`: refused");
        assert_eq!(fault.to_string(), "could not reach engine `ollama`");
    }

    #[test]
    fn retry_after_is_never_zero_seconds() {
        assert_eq!(Fault::unavailable("x").retry_after(Duration::from_millis(5)).retry_after_s(), Some(1));
        assert_eq!(Fault::unavailable("x").retry_after(Duration::from_millis(1500)).retry_after_s(), Some(2));
    }
}
