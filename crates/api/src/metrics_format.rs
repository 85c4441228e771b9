//! The two forms of `/metrics`, and which one a client gets.

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' own text, which everybody reads.
    Text,
    /// OpenMetrics, which has exemplars: for an observation the trace that it belongs to.
    OpenMetrics,
}

impl MetricsFormat {
    /// OpenMetrics for those who say that they read it, by the header `Accept`.
    pub fn accepted(accept: &str) -> Self {
        match accept.split(',').any(is_open_metrics) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

fn is_open_metrics(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text")) {
        return false;
    }
    parts.all(|parameter| match parameter.split_once('=') {
        Some((name, version)) if name.trim().eq_ignore_ascii_case("version") => version.trim() == "1.0.0",
        Some((name, weight)) if name.trim().eq_ignore_ascii_case("q") => {
            weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0)
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_goes_only_to_those_who_read_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [prometheus, "Application/OpenMetrics-Text", "text/plain, application/openmetrics-text; q=0.1"] {
            assert_eq!(MetricsFormat::accepted(accept), MetricsFormat::OpenMetrics, "{accept}");
        }
        let not_read = "application/openmetrics-text;version=1.0.0;q=0";
        for accept in ["", "*/*", "text/plain", not_read, "application/openmetrics-text;version=0.0.1"] {
            assert_eq!(MetricsFormat::accepted(accept), MetricsFormat::Text, "{accept}");
        }
    }
}
