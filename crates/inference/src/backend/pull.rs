//! A model that an engine fetches from outside the house: how far it is, line by line, until it is there.

use std::time::Duration;

use base::answer::next_frame;
use base::{Code, Fault, Result};
use bytes::{Buf, BytesMut};
use serde_json::Value;

use super::json;
use crate::http1::EngineBody;

/// Checking the bytes of a large model on a slow disk is silent.
const SILENT: Duration = Duration::from_secs(1800);
/// A line has some 200 bytes.
const MOST_LINE: usize = 64 << 10;

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// In the engine's words.
    pub status: String,
    /// Of the part that is fetched now.
    pub completed_bytes: u64,
    /// Likewise; 0 when not known.
    pub total_bytes: u64,
}

/// A fetch that goes on while it is listened to; dropping it ends it.
pub struct Pulling {
    engine: String,
    model: String,
    body: EngineBody,
    held: BytesMut,
    is_over: bool,
}

impl Pulling {
    pub(super) fn new(engine: &str, model: &str, body: EngineBody) -> Self {
        Self { engine: engine.to_owned(), model: model.to_owned(), body, held: BytesMut::new(), is_over: false }
    }

    /// The next news; `None` once the model is there. After a fault there is nothing more.
    pub async fn next(&mut self) -> Option<Result<PullProgress>> {
        if self.is_over {
            return None;
        }
        let told = match tokio::time::timeout(SILENT, self.line()).await {
            Ok(Ok(line)) => self.read(&line),
            Ok(Err(fault)) => Err(fault),
            Err(_) => {
                let message = format!(
                    "engine `{}` was silent for {} s while it pulled `{}`",
                    self.engine,
                    SILENT.as_secs(),
                    self.model
                );
                Err(Fault::new(Code::DeadlineExceeded, message)
                    .hint("look at the engine's log, then pull again: it goes on where it was"))
            }
        };
        self.is_over = told.as_ref().map_or(true, |progress| progress.status == "success");
        Some(told)
    }

    async fn line(&mut self) -> Result<BytesMut> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.held) {
                let line = self.held.split_to(end);
                self.held.advance(1);
                if !line.is_empty() {
                    return Ok(line);
                }
                continue;
            }
            if self.held.len() > MOST_LINE {
                let message = format!("engine `{}` tells of a pull in a line without an end", self.engine);
                return Err(Fault::new(Code::EngineFailed, message)
                    .hint("check that the worker's backend is the kind of engine at its url"));
            }
            match next_frame(&mut self.body).await {
                Some(frame) => self.held.extend_from_slice(&frame?),
                // The last line may come without an end.
                None if !self.held.is_empty() => return Ok(self.held.split()),
                None => {
                    let message = format!("engine `{}` stopped before `{}` was there", self.engine, self.model);
                    return Err(Fault::new(Code::EngineCut, message).hint("pull it again: it goes on where it was"));
                }
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<PullProgress> {
        let told: Value = serde_json::from_slice(line).map_err(|error| {
            let message = format!("engine `{}` told of a pull in something else than JSON", self.engine);
            Fault::new(Code::EngineFailed, message)
                .because(error)
                .hint("check that the worker's backend is the kind of engine at its url")
        })?;
        match json::text(&told, "/error") {
            "" => Ok(PullProgress {
                status: json::text(&told, "/status").to_owned(),
                completed_bytes: json::bytes(&told, "/completed"),
                total_bytes: json::bytes(&told, "/total"),
            }),
            error => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: &str) -> Fault {
        let message = format!("engine `{}` could not pull `{}`: {error}", self.engine, self.model);
        if error.contains("not exist") || error.contains("not found") {
            Fault::new(Code::ModelNotFound, message).hint("look for the model's name in the library of the engine")
        } else {
            Fault::new(Code::EngineFailed, message)
                .hint("check that the engine's machine reaches the internet and has room")
        }
    }
}
