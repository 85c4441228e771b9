//! The head of an engine's answer: its status, and the few headers that say how to read the rest. Pure.

use std::time::Duration;

use super::body::Framing;
use super::chunked::Chunked;

/// Largest head that is read.
pub(super) const MOST_HEAD: usize = 64 * 1024;
/// Most headers of one head; clouds behind a proxy send about 30.
const MOST_HEADERS: usize = 96;

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) content_length: Option<u64>,
    pub(super) retry_after: Option<Duration>,
    pub(super) framing: Framing,
    /// Whether the connection may carry another request after this answer.
    pub(super) keeps_alive: bool,
}

/// Reads the head at the front of `bytes` with its length; `None` when it is not whole yet. An error says what is wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("its head has too many headers"),
        Err(_) => return Err("its head is not HTTP/1"),
    };
    let status = response.code.ok_or("its head has no status")?;
    let mut fields = Fields::default();
    for header in response.headers.iter() {
        fields.read(header.name, header.value)?;
    }
    Ok(Some((length, fields.into_head(status, response.version == Some(1)))))
}

#[derive(Default)]
struct Fields {
    content_type: Option<String>,
    content_length: Option<u64>,
    retry_after: Option<Duration>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl Fields {
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let value = std::str::from_utf8(value).unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("content-length") {
            let length = content_length(value).ok_or("its content-length is no number")?;
            if self.content_length.replace(length).is_some_and(|before| before != length) {
                return Err("it has two different content-lengths");
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") || self.is_chunked {
                return Err("its transfer-encoding is not supported");
            }
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case("content-encoding") {
            if !value.eq_ignore_ascii_case("identity") {
                return Err("it is compressed although nobody asked for that");
            }
        } else if name.eq_ignore_ascii_case("connection") {
            self.says_close |= has_word(value, "close");
            self.says_keep_alive |= has_word(value, "keep-alive");
        } else if name.eq_ignore_ascii_case("content-type") {
            self.content_type = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("retry-after") {
            // The other form, a date, depends on two clocks that may differ; it counts as not given.
            self.retry_after = value.parse().ok().map(Duration::from_secs);
        }
        Ok(())
    }

    fn into_head(self, status: u16, is_http_1_1: bool) -> Head {
        let has_no_body = status < 200 || status == 204 || status == 304;
        let framing = match self.content_length {
            _ if has_no_body => Framing::Length { left: 0 },
            _ if self.is_chunked => Framing::Chunked(Chunked::new()),
            Some(left) => Framing::Length { left },
            None => Framing::UntilClose,
        };
        // Both framings at once is how smuggled answers look: the answer is read, the connection not used again.
        let is_ambiguous = self.is_chunked && self.content_length.is_some();
        let persists = if is_http_1_1 { !self.says_close } else { self.says_keep_alive };
        Head {
            status,
            content_type: self.content_type,
            content_length: self.content_length.filter(|_| !self.is_chunked),
            retry_after: self.retry_after,
            keeps_alive: persists && !is_ambiguous && !matches!(framing, Framing::UntilClose),
            framing,
        }
    }
}

/// Only digits: `u64::from_str` would also take a sign.
fn content_length(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|entry| entry.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        parse(format!("{text}\r\n\r\n").as_bytes()).unwrap().unwrap().1
    }

    #[test]
    fn framing_and_reuse_follow_the_headers() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", "Length { left: 5 }", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nconnection: Close", "Length { left: 5 }", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", "Chunked(Chunked(Size))", true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5", "Chunked(Chunked(Size))", false),
            ("HTTP/1.1 200 OK", "UntilClose", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5", "Length { left: 5 }", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive", "Length { left: 5 }", true),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5", "Length { left: 0 }", true),
        ];
        for (text, framing, keeps_alive) in cases {
            let head = head(text);
            assert_eq!((format!("{:?}", head.framing), head.keeps_alive), (framing.to_owned(), keeps_alive), "{text}");
        }
    }

    #[test]
    fn heads_that_cannot_be_trusted_are_refused() {
        for bad in [
            "hello",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip",
        ] {
            assert!(parse(format!("{bad}\r\n\r\n").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        assert_eq!(head("HTTP/1.1 503 Busy\r\nRetry-After: 7").retry_after, Some(Duration::from_secs(7)));
        assert_eq!(head("HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT").retry_after, None);
    }
}
