//! Dates as documents write them: ISO 8601 and its relatives, and the form of PDF.

use base::time::days_from_civil;

/// Milliseconds since 1970 of a date such as `2024-05-01`, `2024-05-01T10:00:00+02:00` or `D:20240501100000+02'00'`;
/// without a time midnight, without a zone UTC. `None` for what is no date, or lies before 1970.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let mut rest = Rest(text.strip_prefix("D:").unwrap_or(text).as_bytes());
    let year = rest.digits(4)?;
    rest.skip(b"-/");
    let (mut month, mut day, mut seconds) = (1, 1, 0);
    if let Some(given) = rest.digits(2) {
        month = given;
        rest.skip(b"-/");
        if let Some(given) = rest.digits(2) {
            day = given;
            seconds = time_of_day(&mut rest)?;
        }
    }
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + seconds;
    u64::try_from(seconds).ok()?.checked_mul(1000)
}

/// Seconds since midnight UTC, which another zone's midnight may put below zero.
fn time_of_day(rest: &mut Rest<'_>) -> Option<i64> {
    rest.skip(b"T t");
    let Some(hour) = rest.digits(2) else { return Some(0) };
    rest.skip(b":");
    let minute = rest.digits(2).unwrap_or(0);
    rest.skip(b":");
    let second = rest.digits(2).unwrap_or(0);
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    if rest.skip(b".,") {
        while rest.digits(1).is_some() {}
    }
    let sign = if rest.skip(b"+") {
        1
    } else if rest.skip(b"-") {
        -1
    } else {
        0
    };
    let away = if sign == 0 { 0 } else { rest.digits(2)? };
    rest.skip(b":'");
    let away_minutes = if sign == 0 { 0 } else { rest.digits(2).unwrap_or(0) };
    Some(hour * 3600 + minute * 60 + second - sign * (away * 3600 + away_minutes * 60))
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let number = digits
            .iter()
            .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))?;
        self.0 = rest;
        Some(number)
    }

    fn skip(&mut self, any: &[u8]) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        let found = any.contains(first);
        if found {
            self.0 = rest;
        }
        found
    }
}

const fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read_in_each_of_their_forms() {
        for (text, means) in [
            ("2024-05-01", "2024-05-01T00:00:00.000Z"),
            (" 2024/05/01 ", "2024-05-01T00:00:00.000Z"),
            ("2024-05", "2024-05-01T00:00:00.000Z"),
            ("2024", "2024-01-01T00:00:00.000Z"),
            ("2024-05-01T10:30:05.123+02:00", "2024-05-01T08:30:05.000Z"),
            ("2024-05-01 00:30 +0200", "2024-05-01T00:30:00.000Z"),
            ("2024-05-01T00:30+0200", "2024-04-30T22:30:00.000Z"),
            ("D:20240229235959-01'00'", "2024-03-01T00:59:59.000Z"),
        ] {
            assert_eq!(parse(text).map(base::time::rfc3339).as_deref(), Some(means), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in
            ["", "D:", "yesterday", "2023-02-29", "2024-13-01", "1969-12-31", "2024-05-01T99:00", "２０２４-05-01"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_the_house_writes_is_read_back(seconds in 0_u64..253_402_300_800) {
            prop_assert_eq!(parse(&base::time::rfc3339(seconds * 1000)), Some(seconds * 1000));
        }

        #[test]
        fn no_text_upsets_it(text in "[D:0-9T+'/ -]{0,30}") {
            parse(&text);
        }
    }
}
