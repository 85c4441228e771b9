//! `tmctl ca show`: every certificate of the folder, for whom it is and how long it still is good.

use std::path::Path;

use base::Result;
use base::time::{rfc3339, unix_ms};
use net::ca::{self, Listed};
use serde::Serialize;

use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table};
use crate::text;

const DAY_S: i64 = 86_400;

/// Shows them.
pub fn show(screen: &mut Screen, dir: &Path) -> Result<Verdict, Ended> {
    let listed = ca::list(dir)?;
    let now_s = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
    let items: Vec<Item<'_>> = listed.iter().map(|one| item(one, now_s)).collect();
    screen.show(|style| table(&listed, now_s, style), &List { folder: dir, certificates: items })?;
    Ok(Verdict::Done)
}

fn table(listed: &[Listed], now_s: i64, style: Style) -> String {
    let mut table = Table::new(["KIND", "NAME", "STATE", "ENDS", "SERIAL", "ADDRESSES"]);
    for one in listed {
        table.row([
            one.kind.as_str().into(),
            one.facts.subject.as_str().into(),
            Cell::state(&state(one, now_s)),
            text::clock(ms(one.facts.ends_s)).into(),
            one.facts.serial.to_string().into(),
            text::or_dash(&one.facts.addresses.join(" ")).into(),
        ]);
    }
    table.render(style, "no certificates")
        + "what nodes renewed by themselves is not in this folder; `tm_cert_expiry_seconds` of each node shows its own\n"
}

fn state(one: &Listed, now_s: i64) -> String {
    match one.facts.ends_s - now_s {
        _ if one.is_revoked => "revoked".to_owned(),
        ..=0 => "expired".to_owned(),
        left => format!("{} days left", left / DAY_S),
    }
}

fn ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

#[derive(Serialize)]
struct List<'a> {
    folder: &'a Path,
    certificates: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    kind: &'static str,
    name: &'a str,
    addresses: &'a [String],
    serial: String,
    begins: String,
    ends: String,
    expired: bool,
    revoked: bool,
    file: &'a Path,
}

fn item(one: &Listed, now_s: i64) -> Item<'_> {
    let facts = &one.facts;
    Item {
        kind: one.kind.as_str(),
        name: &facts.subject,
        addresses: &facts.addresses,
        serial: facts.serial.to_string(),
        begins: rfc3339(ms(facts.begins_s)),
        ends: rfc3339(ms(facts.ends_s)),
        expired: facts.ends_s <= now_s,
        revoked: one.is_revoked,
        file: &one.path,
    }
}

#[cfg(test)]
mod tests {
    use net::ca::{Existing, Kind, Order, Passphrase};

    use super::*;
    use crate::samples;

    #[test]
    fn each_certificate_is_listed_with_what_became_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let passphrase = Passphrase::new("correct horse").unwrap();
        ca::init(dir.path(), &passphrase, Existing::Keep).unwrap();
        ca::issue(dir.path(), &passphrase, &Order::new("nas", &["10.0.0.7".to_owned()]), Existing::Keep).unwrap();
        let mut listed = ca::list(dir.path()).unwrap();
        // What chance and the clock made, made the same each time.
        let now_s = i64::try_from(samples::NOW / 1000).unwrap();
        for (at, one) in listed.iter_mut().enumerate() {
            one.path = Path::new("pki").join(one.path.file_name().unwrap());
            one.facts.serial = net::certificate::Serial::parse(&format!("ab{at}")).unwrap();
            one.facts.subject = if one.kind == Kind::Root { "Taskmaster cluster CA".into() } else { "nas".into() };
            one.facts.begins_s = now_s;
            one.facts.ends_s = now_s + 90 * DAY_S;
        }
        let mut expired = listed[1].clone();
        expired.facts.ends_s = now_s;
        let revoked = Listed { is_revoked: true, ..listed[1].clone() };
        listed.extend([expired, revoked]);
        let items: Vec<_> = listed.iter().map(|one| item(one, now_s)).collect();
        let list = List { folder: Path::new("pki"), certificates: items };
        insta::assert_snapshot!("ca_show", table(&listed, now_s, Style::default()) + &samples::json(&list));
    }
}
