//! Connections to engines come from `net`, which checks and records where they go.

use std::sync::Arc;
use std::time::Duration;

use base::BoxFuture;
use net::{ClientTls, Connector, Purpose};

use super::{Dial, Endpoint, Stream};

/// Dials `endpoint` for `purpose` through the program's connector, within `timeout`; over TLS when `tls` is given.
pub fn dialler(
    connector: Connector,
    purpose: Purpose,
    endpoint: &Endpoint,
    tls: Option<ClientTls>,
    timeout: Duration,
) -> Dial {
    let (host, port): (Arc<str>, u16) = (endpoint.host.as_str().into(), endpoint.port);
    Arc::new(move || -> BoxFuture<'static, _> {
        let (connector, host, tls) = (connector.clone(), host.clone(), tls.clone());
        Box::pin(async move {
            Ok(match tls {
                None => Box::new(connector.connect(purpose, &host, port, timeout).await?) as Stream,
                Some(tls) => Box::new(connector.connect_tls(purpose, &host, port, timeout, &tls).await?),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use base::Code;
    use base::config::{Mode, Privacy};
    use net::{Audit, Policy};

    use super::*;
    use crate::http1::{Pool, Request};
    use crate::scripted::{Reply, Scripted};

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn pool(url: &str) -> Pool {
        let privacy = Privacy { mode: Mode::LocalOnly, local_ranges: Vec::new() };
        let connector = Connector::new(Arc::new(Policy::new(&privacy).unwrap()), Audit::new());
        let endpoint = Endpoint::parse(url).unwrap();
        let dial = dialler(connector, Purpose::Engine, &endpoint, None, TIMEOUT);
        Pool::new("engine", endpoint, dial)
    }

    #[tokio::test]
    async fn engine_of_the_house_is_dialled_and_any_other_address_is_not() {
        let engine = Scripted::start(|_, _| Some(Reply::Json(200, serde_json::json!({})))).await;
        let until = Instant::now() + TIMEOUT;
        let response = pool(&format!("http://{}", engine.address)).send(&Request::get("/"), until).await.unwrap();
        assert!(response.is_success());
        let fault = pool("http://192.0.2.1").send(&Request::get("/"), until).await.unwrap_err();
        assert_eq!(fault.code, Code::PermissionDenied, "{fault:?}");
    }
}
