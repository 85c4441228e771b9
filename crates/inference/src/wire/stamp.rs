//! Time stamps as Ollama writes them (RFC 3339), to Unix time; [`base::time::rfc3339`] is the way back.

/// Whole Unix seconds of a stamp, its offset taken off; 0 when it is none.
pub(super) fn parse_s(stamp: &str) -> u64 {
    read(stamp).and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)
}

fn read(stamp: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| stamp.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let zone = stamp.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset_min = match zone.get(..1)? {
        "+" | "-" => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
        _ => 0,
    };
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3600 + (minute - offset_min) * 60 + second)
}

/// Days since 1970-01-01 of a date (the algorithm of Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use base::time::rfc3339;

    use super::*;

    #[test]
    fn stamps_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_250, "2000-02-29T00:00:00.250Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_s(text), ms / 1000);
        }
        assert_eq!(parse_s("2023-08-04T08:52:19.385406455-07:00"), parse_s("2023-08-04T15:52:19Z"));
        for junk in ["", "yesterday", "2023-08-04", "2023-08-04T08:52:19", "é023-08-04T08:52:19Z"] {
            assert_eq!(parse_s(junk), 0, "{junk}");
        }
    }
}
