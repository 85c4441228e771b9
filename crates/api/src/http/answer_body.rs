//! The bodies that go out: an answer polled in place, or a block that is known already.
//!
//! A running answer gives signs of life while it has no bytes: SSE comments, or whitespace where JSON allows it. Once
//! answer bytes went out, an error can only break the connection off; a clean end would pass a stump for an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base::answer::Frames;
use base::beside::Beside;
use base::{Answer, AnswerHead, BoxFrames, BoxFuture, Dialect, Fault, Result};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::connection::Busy;
use super::refusal;

/// A refused request's body is read on for this long, so that its sender sees the refusal and not a broken connection.
const LINGER: Duration = Duration::from_secs(2);

/// What breaks a connection off in the middle of an answer.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of any response.
pub(super) struct Outgoing {
    part: Part,
    /// Tells the connection when this body is gone.
    busy: Option<Busy>,
}

enum Part {
    Whole(Option<Bytes>),
    Running(Running),
    Lingering(Lingering),
    Page(axum::body::Body),
}

impl Outgoing {
    /// One block.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::of(Part::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// A running answer.
    pub(super) fn running(running: Running) -> Self {
        Self::of(Part::Running(running))
    }

    /// What axum made.
    pub(super) fn page(body: axum::body::Body) -> Self {
        Self::of(Part::Page(body))
    }

    fn of(part: Part) -> Self {
        Self { part, busy: None }
    }

    /// The same block or page, whose end waits a little for the rest of a request that was answered without it.
    pub(super) fn lingering_over(self, rest: Incoming) -> Self {
        let answer = match self.part {
            Part::Whole(bytes) if !rest.is_end_stream() => bytes.map(axum::body::Body::from),
            Part::Page(page) if !rest.is_end_stream() => Some(page),
            part => return Self::of(part),
        };
        Self::of(Part::Lingering(Lingering { answer, rest, over: Box::pin(sleep(LINGER)) }))
    }

    /// The same, keeping its connection busy as long as it lives.
    pub(super) fn keeping(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.part {
            Part::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Part::Running(running) => {
                running.poll_data(cx).map(|data| Some(data?.map(Frame::data).map_err(Into::into)))
            }
            Part::Lingering(lingering) => lingering.poll_frame(cx),
            Part::Page(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.part {
            Part::Whole(bytes) => bytes.is_none(),
            Part::Running(running) => matches!(running.state, State::Over),
            Part::Lingering(_) => false,
            Part::Page(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.part {
            Part::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Part::Running(running) => running.length.map_or_else(SizeHint::default, SizeHint::with_exact),
            Part::Lingering(_) => SizeHint::default(),
            Part::Page(body) => body.size_hint(),
        }
    }
}

/// The wire form that an answer has to keep to.
#[derive(Clone, Copy)]
pub(super) struct Form {
    /// The ask's dialect.
    pub(super) dialect: Dialect,
    /// Whether the client wants a stream.
    pub(super) stream: bool,
}

impl Form {
    /// A sign of life that changes nothing in an answer of this form.
    fn heartbeat(self) -> Bytes {
        Bytes::from_static(match (self.dialect.content_type(self.stream), self.stream) {
            ("text/event-stream", _) => b": waiting\n\n",
            // Never a blank line: clients parse every line. A space before the line is whitespace to JSON.
            (_, true) => b" ",
            (_, false) => b"\n",
        })
    }

    fn error(self, fault: &Fault) -> Bytes {
        match self.stream {
            true => refusal::event(self.dialect, fault),
            false => refusal::object(refusal::face_of_dialect(self.dialect), fault),
        }
    }
}

/// An answer on its way, or one that is still being waited for although the head went out.
pub(super) struct Running {
    state: State,
    form: Form,
    length: Option<u64>,
    /// Whether bytes of the answer itself went out.
    has_begun: bool,
    heartbeat: Duration,
    last_sent: LastSent,
    timer: Option<Beside<Sleep>>,
}

enum State {
    Waiting(BoxFuture<'static, Result<Answer>>),
    Flowing(BoxFrames),
    /// Breaks off as soon as what went out before is on its way.
    Breaking(Option<Fault>),
    Over,
}

/// Whether something went out since the timer was set; spares moving the timer with every token.
enum LastSent {
    BeforeTimer,
    SinceTimer,
}

impl Running {
    /// An answer whose head is known.
    pub(super) fn flowing(frames: BoxFrames, head: &AnswerHead, form: Form, heartbeat: Duration) -> Self {
        // An engine may answer one object to an ask for a stream; then comments would spoil it.
        let form = Form { stream: form.stream && head.content_type != "application/json", ..form };
        Self { length: head.content_length, ..Self::new(State::Flowing(frames), form, heartbeat) }
    }

    /// An answer that is not there yet. Gives a sign of life at once.
    pub(super) fn waiting(pending: BoxFuture<'static, Result<Answer>>, form: Form, heartbeat: Duration) -> Self {
        let timer = Some(Beside::new(sleep(Duration::ZERO)));
        Self { timer, ..Self::new(State::Waiting(pending), form, heartbeat) }
    }

    fn new(state: State, form: Form, heartbeat: Duration) -> Self {
        Self { state, form, length: None, has_begun: false, heartbeat, last_sent: LastSent::BeforeTimer, timer: None }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Breaking(fault) => {
                    let fault = fault.take();
                    self.state = State::Over;
                    return Poll::Ready(fault.map(Err));
                }
                State::Waiting(pending) => match pending.as_mut().poll(cx) {
                    Poll::Ready(Ok(answer)) => self.state = State::Flowing(answer.frames),
                    Poll::Ready(Err(fault)) => return self.poll_fail(fault, cx),
                    Poll::Pending => return self.poll_heartbeat(cx),
                },
                State::Flowing(frames) => match frames.poll_frame(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        self.has_begun = true;
                        self.last_sent = LastSent::SinceTimer;
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    Poll::Ready(Some(Err(fault))) => return self.poll_fail(fault, cx),
                    Poll::Ready(None) => self.state = State::Over,
                    Poll::Pending => return self.poll_heartbeat(cx),
                },
            }
        }
    }

    /// The end by `fault`: told in the answer's form while no byte of the answer itself went out.
    fn poll_fail(&mut self, fault: Fault, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.has_begun || self.length.is_some() {
            // hyper forgets what it has not written when a body fails; pausing once lets it write.
            self.state = State::Breaking(Some(fault));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.state = State::Over;
        Poll::Ready(Some(Ok(self.form.error(&fault))))
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // JSON takes whitespace only before it begins; an announced length takes none.
        if self.length.is_some() || (self.has_begun && !self.form.stream) {
            return Poll::Pending;
        }
        let heartbeat = self.heartbeat;
        let timer = self.timer.get_or_insert_with(|| Beside::new(sleep(heartbeat)));
        loop {
            ready!(timer.poll(cx, Sleep::is_elapsed));
            timer.set(|timer| timer.reset(Instant::now() + heartbeat));
            match std::mem::replace(&mut self.last_sent, LastSent::BeforeTimer) {
                LastSent::BeforeTimer => return Poll::Ready(Some(Ok(self.form.heartbeat()))),
                LastSent::SinceTimer => {}
            }
        }
    }
}

/// An answer that reads on what its request still sends.
struct Lingering {
    answer: Option<axum::body::Body>,
    rest: Incoming,
    over: Pin<Box<Sleep>>,
}

impl Lingering {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(answer) = &mut self.answer {
            if let Some(frame) = ready!(Pin::new(answer).poll_frame(cx)) {
                return Poll::Ready(Some(frame.map_err(Into::into)));
            }
            self.answer = None;
        }
        while self.over.as_mut().poll(cx).is_pending() {
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(None)
    }
}
