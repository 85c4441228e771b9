//! The door of each service: lets holders of a key pass that opens the called method, when keys are on, and notes who they
//! are. Health and reflection have none.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::{BoxFuture, Code, Fault, Grant, Result, Scope};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code as GrpcCode, Status};
use tower::Service;

use super::cut::From;
use crate::desk::Caller;
use crate::scopes::{self, Need};
use crate::until::Until;
use crate::{Client, Desk};

/// Makes them.
pub(super) struct Door(Arc<dyn Desk>);

impl Door {
    /// Asks `desk` whom to let in.
    pub(super) fn new(desk: Arc<dyn Desk>) -> Self {
        Self(desk)
    }

    /// `service` behind a door.
    pub(super) fn before<S>(&self, service: S) -> Keyed<S> {
        Keyed { service, desk: self.0.clone() }
    }
}

/// A service behind its door.
#[derive(Clone)]
pub(super) struct Keyed<S> {
    service: S,
    desk: Arc<dyn Desk>,
}

impl<S: NamedService> NamedService for Keyed<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Keyed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (grant, need) = match admit(&*self.desk, &request) {
            Ok(admitted) => admitted,
            Err(fault) => {
                let refused = proto::to_status(&fault).into_http();
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        // An ask that was let in comes to its end, as over HTTP.
        let ended = (need != Need::Key(Scope::Infer)).then(|| self.desk.until_ended(&grant));
        request.extensions_mut().insert(Client(grant));
        let answering = self.service.call(request);
        Box::pin(async move {
            let response = answering.await?;
            Ok(match ended {
                Some(ended) => response.map(|body| Body::new(Until::new(body, ended, key_ended))),
                None => response,
            })
        })
    }
}

fn admit<T>(desk: &dyn Desk, request: &Request<T>) -> Result<(Arc<Grant>, Need)> {
    let path = request.uri().path();
    let known = scopes::of_grpc(path);
    let need = known.unwrap_or(Need::AnyKey);
    let from = request.extensions().get::<From>().and_then(|from| from.0);
    let call = if known.is_some() { path } else { "an unknown method" };
    let caller = Caller { key: key(request.headers()), has_key_in_address: false, from, call };
    let grant = desk.authenticate(&caller, need.scope())?;
    match known {
        Some(_) => Ok((grant, need)),
        None => Err(Fault::new(Code::NotSupported, "this server has no such method")
            .hint("it may be of an earlier release than the client; `tmctl nodes` shows its version")),
    }
}

fn key(headers: &HeaderMap) -> Option<&str> {
    crate::bearer(headers.get("authorization")?.to_str().ok()?)
}

/// The end of a stream whose key has ended.
fn key_ended() -> Result<Frame<Bytes>, Status> {
    let status = Status::new(GrpcCode::Unauthenticated, "the API key has ended");
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
