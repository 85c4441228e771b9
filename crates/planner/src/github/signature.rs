//! GitHub signs the raw bytes of a delivery with a secret that it shares with us: HMAC-SHA256, as hexadecimal digits.

use aws_lc_rs::hmac;
use base::{Code, Fault, Result};

/// The header in which it stands.
pub const SIGNATURE: &str = "x-hub-signature-256";

/// Refuses a body that the holder of `secret` has not signed. Takes as long for any wrong signature.
pub fn verify(secret: &[u8], signature: &str, body: &[u8]) -> Result<()> {
    let refused = |what: &str| {
        Fault::new(Code::Unauthenticated, format!("the delivery {what}"))
            .hint("give the webhook at GitHub the secret of [hooks.github], and let nothing change the body on its way")
    };
    if signature.is_empty() {
        return Err(refused(&format!("has no signature (header `{SIGNATURE}`)")));
    }
    let given =
        signature.strip_prefix("sha256=").and_then(bytes_of).ok_or_else(|| refused("has no valid signature"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, body, &given).map_err(|_| refused("is not signed with the secret of this server"))
}

/// The bytes of 64 hexadecimal digits.
fn bytes_of(digits: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        // `from_str_radix` alone would take a sign.
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation.
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const GOOD: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn the_documented_signature_is_accepted() {
        verify(SECRET, GOOD, BODY).unwrap();
        verify(SECRET, &GOOD.to_uppercase().replace("SHA256", "sha256"), BODY).unwrap();
    }

    #[test]
    fn anything_else_is_not() {
        let digits = GOOD.trim_start_matches("sha256=");
        let wrong = [
            String::new(),
            digits.to_owned(),
            format!("sha1={digits}"),
            format!("sha256={}", digits.replacen('7', "8", 1)),
            format!("{GOOD}0"),
            "sha256=".to_owned(),
            format!("sha256=+{}", &digits[1..]),
            format!("sha256={}é", &digits[2..]),
            GOOD.replace('7', "g"),
        ];
        for signature in wrong {
            assert_eq!(verify(SECRET, &signature, BODY).unwrap_err().code, Code::Unauthenticated, "{signature}");
        }
        assert!(verify(SECRET, GOOD, b"Hello, World").is_err());
        assert!(verify(b"another secret", GOOD, BODY).is_err());
    }
}
