//! The W3C `traceparent` in gRPC metadata, so that one ask is one trace across nodes.

use tonic::metadata::{MetadataMap, MetadataValue};

const KEY: &str = "traceparent";
/// `00-` 32 hex `-` 16 hex `-` 2 hex.
const LENGTH: usize = 55;

/// Puts `traceparent` into the metadata of a call; nothing when it is empty or not well-formed.
pub fn inject(metadata: &mut MetadataMap, traceparent: &str) {
    if !is_well_formed(traceparent) {
        return;
    }
    if let Ok(value) = MetadataValue::try_from(traceparent) {
        metadata.insert(KEY, value);
    }
}

/// The `traceparent` of a call; empty when there is none or it is not well-formed.
pub fn extract(metadata: &MetadataMap) -> &str {
    let text = metadata.get(KEY).and_then(|value| value.to_str().ok());
    text.filter(|text| is_well_formed(text)).unwrap_or_default()
}

/// Whether `text` is of version 00 with ids that are not all zero; a client's text ends up in logs and in other calls.
pub(crate) fn is_well_formed(text: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, length: usize| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    text.len() == LENGTH
        && parts.next() == Some("00")
        && parts.next().is_some_and(|trace| is_id(trace, 32))
        && parts.next().is_some_and(|span| is_id(span, 16))
        && parts.next().is_some_and(|flags| is_hex(flags, 2))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_arrives() {
        let mut metadata = MetadataMap::new();
        inject(&mut metadata, GOOD);
        assert_eq!(extract(&metadata), GOOD);
    }

    #[test]
    fn what_is_no_traceparent_does_not_travel() {
        let zero = GOOD.replace("b7ad6b7169203331", "0000000000000000");
        for bad in ["", "00-", "hello", &GOOD.to_uppercase(), &zero, &format!("{GOOD}-x"), &"é".repeat(28)] {
            let mut metadata = MetadataMap::new();
            inject(&mut metadata, bad);
            assert_eq!(extract(&metadata), "", "{bad}");
            if let Ok(value) = MetadataValue::try_from(bad) {
                metadata.insert(KEY, value);
            }
            assert_eq!(extract(&metadata), "", "{bad}");
        }
    }
}
