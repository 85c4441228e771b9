//! A body that ends when the key does that it was asked for with.

use std::pin::Pin;
use std::task::{Context, Poll};

use base::BoxFuture;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The frame, or the error, that a body ends with which is cut.
type Last<E> = fn() -> Result<Frame<Bytes>, E>;

/// `inner`, and nothing more of it once `ended` is over.
pub(crate) struct Until<B: Body> {
    inner: B,
    ended: BoxFuture<'static, ()>,
    last: Last<B::Error>,
    is_cut: bool,
}

impl<B: Body> Until<B> {
    /// Ends with `last` where it is cut.
    pub(crate) fn new(inner: B, ended: BoxFuture<'static, ()>, last: Last<B::Error>) -> Self {
        Self { inner, ended, last, is_cut: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Until<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.is_cut {
            return Poll::Ready(None);
        }
        // What is whole already goes out.
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if polled.is_ready() || self.ended.as_mut().poll(cx).is_pending() {
            return polled;
        }
        self.is_cut = true;
        Poll::Ready(Some((self.last)()))
    }

    fn is_end_stream(&self) -> bool {
        self.is_cut || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

    fn last() -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(b"over")))
    }

    async fn read(frames: Frames, is_endless: bool, ended: BoxFuture<'static, ()>) -> Bytes {
        use futures_util::StreamExt;
        let rest = if is_endless { stream::pending().left_stream() } else { stream::empty().right_stream() };
        let body = Until::new(StreamBody::new(Box::pin(stream::iter(frames).chain(rest))), ended, last);
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_body_is_cut_at_the_end_of_its_key_and_not_before() {
        let frames = || vec![Ok(Frame::data(Bytes::from_static(b"a"))), Ok(Frame::data(Bytes::from_static(b"b ")))];
        assert_eq!(read(frames(), false, Box::pin(std::future::pending())).await, "ab ");
        assert_eq!(read(frames(), false, Box::pin(std::future::ready(()))).await, "ab ");
        assert_eq!(read(frames(), true, Box::pin(std::future::ready(()))).await, "ab over");
    }
}
