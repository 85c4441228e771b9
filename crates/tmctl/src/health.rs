//! `tmctl health`: one verdict for the whole cluster, with its reasons.

use base::{Result, time};
use proto::admin::{HealthRequest, HealthResponse};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict};
use crate::text;

/// Shows the verdict; not well unless it is `ok`.
pub async fn run(servers: &Servers, screen: &mut Screen) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    let response = call(CALL_LIMIT, admin.health(HealthRequest {})).await?;
    screen.show(|_| page(&response, time::unix_ms()), &json(&response))?;
    Ok(if response.verdict == "ok" { Verdict::Done } else { Verdict::NotWell })
}

fn page(response: &HealthResponse, now_unix_ms: u64) -> String {
    let mut page = format!("{}\n", text::or_dash(&response.verdict));
    for reason in &response.reasons {
        page.push_str(&format!("  - {reason}\n"));
    }
    text::visible(&page) + &text::seen_by(response.view.as_ref(), now_unix_ms)
}

#[derive(Serialize)]
struct Health<'a> {
    as_of: String,
    view_of: &'a str,
    verdict: &'a str,
    reasons: &'a [String],
}

fn json(response: &HealthResponse) -> impl Serialize + '_ {
    let view = response.view.as_ref();
    Health {
        as_of: time::rfc3339(view.map_or_else(time::unix_ms, |view| view.as_of_unix_ms)),
        view_of: view.map_or("unknown", |view| &view.node),
        verdict: &response.verdict,
        reasons: &response.reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn health_as_page_and_json() {
        let well = HealthResponse { view: samples::view(), verdict: "ok".into(), reasons: vec![] };
        let reasons = vec!["node sleeper-service is lost for 12 s".into(), "no leader".into()];
        let ill = HealthResponse { verdict: "degraded".into(), reasons, ..well.clone() };
        let text = page(&well, samples::NOW) + "\n" + &page(&ill, samples::NOW) + &samples::json(&json(&ill));
        insta::assert_snapshot!("health", text);
    }
}
