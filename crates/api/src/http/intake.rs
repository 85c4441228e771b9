//! Takes in a request's body, bounded in size and time, without a copy where a large one came in one piece.
//!
//! Nothing is taken in of a request that is not let in. What all bodies hold together while they come is bounded as well,
//! since nobody's key bounds how many connections send one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base::{ByteSize, Code, Fault, Result};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::pages::Refusal;
use super::{HttpLimits, hooks, is_roomy, refusal};

/// At most this much is reserved on the word of a `Content-Length`; more is reserved as it really comes.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// Bodies up to this size are copied out of the buffer that they were read into, of which they are the lesser part.
const COPIED_BYTES: usize = 2 << 10;

/// Largest body of a request that is no ask.
const MAX_COLD_BODY_BYTES: usize = 1 << 20;

/// So many of the largest bodies may come at once; smaller ones in proportion.
const LARGEST_AT_ONCE: usize = 4;

/// The first bytes of each body are counted for nobody, so that small ones come in beside large ones that dawdle.
const FREE_BYTES: usize = 16 << 10;

/// How soon a body for which there was no room may be sent again.
const ROOM_AGAIN: Duration = Duration::from_secs(1);

/// What all bodies that are on their way hold together, in bytes.
pub(super) struct Room(Semaphore);

impl Room {
    /// For bodies of `most` bytes and fewer.
    pub(super) fn of(most: usize) -> Self {
        let bytes = most.saturating_mul(LARGEST_AT_ONCE).min(Semaphore::MAX_PERMITS);
        Self(Semaphore::new(bytes))
    }
}

/// What one body holds of the room, until it is there or given up.
struct Share<'a> {
    room: &'a Room,
    held: Option<SemaphorePermit<'a>>,
}

impl Share<'_> {
    /// Holds as much as `len` bytes of a body take.
    fn grow(&mut self, len: usize) -> Result<()> {
        let held = self.held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = len.saturating_sub(FREE_BYTES + held);
        if more == 0 {
            return Ok(());
        }
        let permit = u32::try_from(more).ok().and_then(|more| self.room.0.try_acquire_many(more).ok());
        let permit = permit.ok_or_else(|| {
            Fault::new(Code::Overloaded, "too many large request bodies come in at once")
                .hint("send it again, one after the other")
                .retry_after(ROOM_AGAIN)
        })?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(())
    }
}

/// The body of a request that nobody has read yet, among its extensions. Who answers without it leaves it there.
#[derive(Clone)]
pub(super) struct Unread(Arc<Mutex<Option<Incoming>>>);

impl Unread {
    /// A body as it comes from its connection.
    pub(super) fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// What is left of it; `None` when all was read.
    pub(super) fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn leave(&self, body: Incoming) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }
}

/// What bounds the bodies of requests that are no asks.
#[derive(Clone)]
pub(super) struct Intake {
    pub(super) limits: Arc<ArcSwap<HttpLimits>>,
    pub(super) room: Arc<Room>,
}

/// Takes in the body of a request that was let in.
pub(super) async fn take_in(State(intake): State<Intake>, mut request: Request, next: Next) -> Response {
    let unread = request.extensions().get::<Unread>().cloned();
    let Some((unread, mut body)) = unread.and_then(|unread| unread.take().map(|body| (unread, body))) else {
        let fault = Fault::internal("a request came in without its body");
        return Refusal(refusal::shape_of(request.uri().path()), fault).into_response();
    };
    let uri = request.uri().clone();
    let is_roomy = is_roomy(uri.path());
    let limits = intake.limits.load_full();
    let most = if is_roomy { limits.body } else { MAX_COLD_BODY_BYTES.min(limits.body) };
    match collect(&mut body, most, limits.read, &intake.room).await {
        Ok(bytes) => *request.body_mut() = axum::body::Body::from(bytes),
        Err(fault) => {
            let fault = match uri.path() {
                hooks::GITHUB => hooks::larger(fault),
                _ if is_roomy && fault.code == Code::TooLarge => {
                    fault.hint("send it in several parts, or raise `body` under [limits]")
                }
                _ => fault,
            };
            unread.leave(body);
            return Refusal(refusal::shape_of(uri.path()), fault).into_response();
        }
    }
    next.run(request).await
}

/// The whole body, when it has at most `most` bytes and comes within `within`.
pub(super) async fn collect(body: &mut Incoming, most: usize, within: Duration, room: &Room) -> Result<Bytes> {
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(too_large(most));
    }
    // Bodies that came together with their head are complete by now, so that no timer is armed for them.
    tokio::time::timeout(within, gather(body, announced, most, room)).await.unwrap_or_else(|_| {
        Err(Fault::new(Code::DeadlineExceeded, "the request body did not arrive in time")
            .hint("send the whole body right behind the headers"))
    })
}

async fn gather(body: &mut Incoming, announced: u64, most: usize, room: &Room) -> Result<Bytes> {
    let Some(first) = next_data(body).await? else { return Ok(Bytes::new()) };
    if first.len() > most {
        return Err(too_large(most));
    }
    if first.len() as u64 == announced || body.is_end_stream() {
        // A small body would keep the connection's whole buffer in memory as long as its answer runs.
        return Ok(if first.len() <= COPIED_BYTES { Bytes::copy_from_slice(&first) } else { first });
    }
    let mut share = Share { room, held: None };
    share.grow(first.len())?;
    let reserved = usize::try_from(announced.min(MAX_RESERVED_BYTES)).unwrap_or_default().max(first.len() * 2);
    let mut all = BytesMut::with_capacity(reserved);
    all.extend_from_slice(&first);
    while let Some(data) = next_data(body).await? {
        if all.len() + data.len() > most {
            return Err(too_large(most));
        }
        share.grow(all.len() + data.len())?;
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Fault::invalid("could not read the request body")
                .because(error)
                .hint("send as many bytes as Content-Length says, or well-formed chunks")
        })?;
        // Trailers carry nothing that an ask needs.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large(most: usize) -> Fault {
    Fault::new(Code::TooLarge, format!("the request body is over the limit of {}", ByteSize(most as u64)))
        .hint("shorten the prompt, send smaller images, or raise `body` under [limits]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_room_as_they_grow_and_give_it_back() {
        const MOST: usize = 1 << 20;
        let room = Room::of(MOST);
        let share = || Share { room: &room, held: None };
        let mut large: Vec<Share> = (0..LARGEST_AT_ONCE).map(|_| share()).collect();
        for part in 1..=4 {
            assert!(large.iter_mut().all(|one| one.grow(part * MOST / 4).is_ok()));
        }
        let mut next = share();
        // Small ones come in all the same.
        next.grow(FREE_BYTES).unwrap();
        let full = next.grow(MOST).unwrap_err();
        assert_eq!((full.code, full.retry_after_s()), (Code::Overloaded, Some(1)));
        large.pop();
        next.grow(MOST).unwrap();
    }
}
