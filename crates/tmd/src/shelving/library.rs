//! Where a model comes from that an engine is told to pull: its own library, or a host that the name leads to.
//!
//! The engine dials by itself, so what it is told is judged here: a name must not send it to this machine, to the house, or
//! to an address that is never dialled.

use std::time::Duration;

use base::Result;
use net::Purpose;
use net::audit::Fact;

use crate::core::Core;

/// A name that takes longer to resolve is as good as none.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);

/// Refuses a name that leads inside; puts on record what the engine is told to fetch.
pub(super) async fn judge(core: &Core, model: &str, worker: &str) -> Result<()> {
    if let Some((host, port)) = host_of(model) {
        core.connector.set_by("models pull").judge(Purpose::Web, host, port, JUDGED_WITHIN).await?;
    }
    let fact = Fact::ModelPulled { model: model.to_owned(), worker: worker.to_owned() };
    core.connector.audit().fact(fact);
    Ok(())
}

/// The host and port in `[scheme://]host[:port]/namespace/model`; `None` where the engine's own library is meant.
fn host_of(model: &str) -> Option<(&str, u16)> {
    let (rest, usual, has_scheme) = match model.split_once("://") {
        Some((scheme, rest)) => (rest, if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 }, true),
        None => (model, 443, false),
    };
    let (host, path) = rest.split_once('/')?;
    if !has_scheme && !path.contains('/') {
        return None;
    }
    match host.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
        Some((name, Ok(port))) if !name.contains(':') || name.ends_with(']') => Some((name, port)),
        _ => Some((host, usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_a_host_where_it_has_three_parts_or_a_scheme() {
        for (model, wanted) in [
            ("llama3.1:8b", None),
            ("someone/llama3.1:8b", None),
            ("models.example/someone/llama:8b", Some(("models.example", 443))),
            ("127.0.0.1:2379/a/b", Some(("127.0.0.1", 2379))),
            ("http://10.0.0.1/b", Some(("10.0.0.1", 80))),
            ("https+insecure://nas:8443/a/b", Some(("nas", 8443))),
            ("[::1]:80/a/b", Some(("[::1]", 80))),
            ("[::1]/a/b", Some(("[::1]", 443))),
        ] {
            assert_eq!(host_of(model), wanted, "{model}");
        }
    }
}
