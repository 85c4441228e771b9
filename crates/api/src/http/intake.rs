//! Takes in a request's body, bounded in size and time, without a copy where a large one came in one piece.

use std::time::Duration;

use base::{ByteSize, Code, Fault, Result};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// At most this much is reserved on the word of a `Content-Length`; more is reserved as it really comes.
const MAX_RESERVED_BYTES: u64 = 1 << 20;

/// Bodies up to this size are copied out of the buffer that they were read into, of which they are the lesser part.
const COPIED_BYTES: usize = 2 << 10;

/// The whole body, when it has at most `most` bytes and comes within `within`.
pub(super) async fn collect(body: &mut Incoming, most: usize, within: Duration) -> Result<Bytes> {
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(too_large(most));
    }
    // Bodies that came together with their head are complete by now, so that no timer is armed for them.
    tokio::time::timeout(within, gather(body, announced, most)).await.unwrap_or_else(|_| {
        Err(Fault::new(Code::DeadlineExceeded, "the request body did not arrive in time")
            .hint("send the whole body right behind the headers"))
    })
}

async fn gather(body: &mut Incoming, announced: u64, most: usize) -> Result<Bytes> {
    let Some(first) = next_data(body).await? else { return Ok(Bytes::new()) };
    if first.len() > most {
        return Err(too_large(most));
    }
    if first.len() as u64 == announced || body.is_end_stream() {
        // A small body would keep the connection's whole buffer in memory as long as its answer runs.
        return Ok(if first.len() <= COPIED_BYTES { Bytes::copy_from_slice(&first) } else { first });
    }
    let reserved = usize::try_from(announced.min(MAX_RESERVED_BYTES)).unwrap_or_default().max(first.len() * 2);
    let mut all = BytesMut::with_capacity(reserved);
    all.extend_from_slice(&first);
    while let Some(data) = next_data(body).await? {
        if all.len() + data.len() > most {
            return Err(too_large(most));
        }
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
