//! What single values of a configuration mean: addresses, paths, numbers, durations, lists of words.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::ByteSize;
use crate::report::Backend;
use crate::units::parse_duration;

/// `host:port`, a bind address like `0.0.0.0:11434`, or a URL without its scheme, as a URL that can be dialled.
pub(super) fn normal_url(text: &str, default_port: u16) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()?),
        _ if scheme == "https" => (authority, 443),
        _ => (authority, default_port),
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b));
    (is_host && port != 0).then(|| format!("{scheme}://{host}:{port}{path}"))
}

pub(super) fn default_port(backend: Backend) -> u16 {
    match backend {
        Backend::Ollama => 11434,
        Backend::LmStudio => 1234,
        Backend::WebUi => 5000,
        Backend::Vllm | Backend::LlamaCppPython => 8000,
        Backend::Anthropic | Backend::Perplexity => 443,
        _ => 8080,
    }
}

pub(super) fn default_url(backend: Backend) -> String {
    match backend {
        Backend::Anthropic => "https://api.anthropic.com:443".to_owned(),
        Backend::Perplexity => "https://api.perplexity.ai:443".to_owned(),
        _ => format!("http://127.0.0.1:{}", default_port(backend)),
    }
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

pub(super) fn words_of<T>(value: &Value, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|word| parse(word.as_str()?)).collect()
}

pub(super) fn path(value: &Value, folder: &Path) -> Option<PathBuf> {
    value.as_str().filter(|path| !path.is_empty()).map(|path| folder.join(path))
}

pub(super) fn whole(value: &Value, least: u32, most: u32) -> Option<u32> {
    value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| (least..=most).contains(n))
}

pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

/// What [`share`] reads, for people.
pub(super) const SHARE: &str = "a share from 0 to 1";

pub(super) fn share(value: &Value) -> Option<f64> {
    number(value).filter(|share| (0.0..=1.0).contains(share))
}

pub(super) fn duration(value: &Value) -> Option<Duration> {
    parse_duration(value.as_str()?)
}

pub(super) fn positive(value: &Value) -> Option<Duration> {
    duration(value).filter(|duration| !duration.is_zero())
}

pub(super) fn size(value: &Value) -> Option<ByteSize> {
    match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok().map(ByteSize),
        value => ByteSize::parse(value.as_str()?),
    }
}

pub(super) fn all<T: Copy>(words: &[T], name: impl Fn(T) -> &'static str) -> String {
    words.iter().map(|&word| name(word)).collect::<Vec<_>>().join(", ")
}

/// Whether `text` is `address/bits`.
pub(super) fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}
