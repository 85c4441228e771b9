//! Sizes and durations as people write them: `32MiB`, `1.5GiB`, `250ms`, `4s`, `5m`, `1h`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// As an index into memory; saturates on a machine with a smaller word.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads `123`, `64KiB`, `32MiB`, `1.5GiB`, `10kB`, `2MB`, `3GB`, with or without a space.
    pub fn parse(text: &str) -> Option<Self> {
        const UNITS: [(&str, f64); 10] = [
            ("TiB", 1_099_511_627_776.0),
            ("GiB", 1_073_741_824.0),
            ("MiB", 1_048_576.0),
            ("KiB", 1024.0),
            ("TB", 1e12),
            ("GB", 1e9),
            ("MB", 1e6),
            ("kB", 1e3),
            ("KB", 1e3),
            ("B", 1.0),
        ];
        let text = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number.trim_end(), *factor)))
            .unwrap_or((text, 1.0));
        let bytes = number.parse::<f64>().ok()? * factor;
        (bytes.is_finite() && (0.0..=u64::MAX as f64).contains(&bytes)).then_some(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (unit, size) in UNITS {
            if self.0 >= size {
                let value = self.0 as f64 / size as f64;
                return if self.0.is_multiple_of(size) {
                    write!(f, "{value:.0} {unit}")
                } else {
                    write!(f, "{value:.1} {unit}")
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// Reads `250ms`, `4s`, `1.5s`, `5m`, `1h`, `2d`; `None` for anything else, and for a bare number (seconds or not?).
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 5] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    let text = text.trim();
    let (number, factor) =
        UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number.trim_end(), *factor)))?;
    let seconds = number.parse::<f64>().ok()? * factor;
    (seconds.is_finite() && (0.0..=1e10).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

/// Writes a duration so that [`parse_duration`] reads it back, in its largest whole unit.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [("32MiB", 32 << 20), ("1.5 GiB", 3 << 29), ("10kB", 10_000), ("7", 7), ("7B", 7)] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "MiB", "-1MiB", "1 XB", "NaN", "1e400"] {
            assert_eq!(ByteSize::parse(bad), None, "{bad}");
        }
        assert_eq!(ByteSize::mib(32).to_string(), "32 MiB");
        assert_eq!(ByteSize(1_610_612_736).to_string(), "1.5 GiB");
    }

    #[test]
    fn durations_read_back_what_they_wrote() {
        for text in ["250ms", "4s", "90s", "5m", "1h", "2d", "0s"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration), "{text}");
        }
        for bad in ["", "5", "s", "-1s", "5 weeks", "1e99h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
