//! `tmctl events`: what happens in the cluster, a line for each event, until interrupted.

use base::time::rfc3339;
use base::{Code, Fault, Result};
use proto::admin::{WatchEventsRequest, WatchEventsResponse};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call, told};
use crate::screen::{Ended, Screen, Verdict};
use crate::text;

/// Shows events until the server ends the stream, which is a fault: events never end by themselves.
pub async fn run(servers: &Servers, screen: &mut Screen) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let mut events = call(CALL_LIMIT, connection.admin().watch_events(WatchEventsRequest {})).await?;
    screen.note(&format!("events as {} sees them; end with Ctrl-C\n", connection.server));
    // No limit on the wait between events; the connection's own probes notice a server that is gone.
    while let Some(event) = events.message().await.map_err(|status| told(&status))? {
        screen.show(|_| line(&event), &json(&event))?;
    }
    Err(Fault::new(Code::Unreachable, format!("`{}` stopped telling events", connection.server))
        .hint("it was probably stopped; name several servers and start again")
        .into())
}

fn line(event: &WatchEventsResponse) -> String {
    let WatchEventsResponse { at_unix_ms, kind, subject, text } = event;
    text::visible(&format!("{}  {kind}  {subject}  {text}", text::clock(*at_unix_ms))).replace('\n', " ") + "\n"
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    kind: &'a str,
    subject: &'a str,
    text: &'a str,
}

fn json(event: &WatchEventsResponse) -> impl Serialize + '_ {
    Line { at: rfc3339(event.at_unix_ms), kind: &event.kind, subject: &event.subject, text: &event.text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn an_event_is_one_line() {
        let event = WatchEventsResponse {
            at_unix_ms: samples::NOW,
            kind: "node".into(),
            subject: "sleeper-service".into(),
            text: "alive -> suspect:\nno heartbeat for 2 s".into(),
        };
        insta::assert_snapshot!("events", line(&event) + &samples::json(&json(&event)));
    }
}
