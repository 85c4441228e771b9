//! Time as the deciding code sees it: deadlines that shrink, and wall-clock stamps that only people read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock after which an ask is not worth answering. Travels with the ask and only shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// `after` from `now`.
    pub fn after(now: Instant, after: Duration) -> Self {
        // An Instant overflows only beyond centuries; such a deadline is the same as a very late one.
        Self(now.checked_add(after).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365)))
    }

    /// What is left of it at `now`; zero when it has passed.
    pub fn left(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether it has passed at `now`.
    pub fn is_over(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// The earlier of the two.
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The point itself, for timers.
    pub fn instant(self) -> Instant {
        self.0
    }
}

/// Milliseconds since the Unix epoch, for what people read (tables, logs). Never used to decide anything.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A point in time as RFC 3339 in UTC, to the millisecond: `2026-01-31T12:00:00.250Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of the day that is `days` after 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// Whole Unix seconds of a point in time as RFC 3339, its offset taken off; `None` when it is none.
pub fn unix_s(stamp: &str) -> Option<i64> {
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

/// The first moment of a day such as `2026-01-31`, in Unix milliseconds; `None` for what is no day, such as a 31st of April.
pub fn day_ms(day: &str) -> Option<u64> {
    let seconds = u64::try_from(unix_s(&format!("{day}T00:00:00Z"))?).ok()?;
    let ms = seconds.checked_mul(1000)?;
    (rfc3339(ms).get(..10) == Some(day)).then_some(ms)
}

/// Days since 1970-01-01 of a date (the algorithm of Howard Hinnant's `days_from_civil`).
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_rfc_3339() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_215_900_250, "2026-11-20T23:05:00.250Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
        rfc3339(u64::MAX);
    }

    #[test]
    fn days_are_dates() {
        assert_eq!((civil(0), civil(11_016), civil(20_786)), ((1970, 1, 1), (2000, 2, 29), (2026, 11, 29)));
    }

    #[test]
    fn a_day_is_one_that_the_calendar_has() {
        assert_eq!((day_ms("2026-11-20"), day_ms("1970-01-01")), (Some(1_795_132_800_000), Some(0)));
        for wrong in ["", "2026-04-31", "2026-13-01", "1969-12-31", "2026-1-31", "2026-01-31T", "31/01/2026"] {
            assert_eq!(day_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn points_in_time_read_back() {
        for ms in [0, 951_782_400_250, 1_798_761_599_999] {
            assert_eq!(unix_s(&rfc3339(ms)), i64::try_from(ms / 1000).ok());
        }
        assert_eq!(unix_s("2023-08-04T08:52:19.385406455-07:00"), unix_s("2023-08-04T15:52:19Z"));
        for junk in ["", "yesterday", "2023-08-04", "2023-08-04T08:52:19", "\u{e9}023-08-04T08:52:19Z"] {
            assert_eq!(unix_s(junk), None, "{junk}");
        }
    }
}
