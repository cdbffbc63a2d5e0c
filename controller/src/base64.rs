//! Base64, as the data of Secrets is written.

pub(crate) use tidegate_gitsync::base64::{decode as decode_bytes, encode};

/// The text behind base64; `None` for what is no base64 or no text.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    String::from_utf8(decode_bytes(encoded)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_text() {
        assert_eq!(decode("Zm9v").as_deref(), Some("foo"));
        assert_eq!(decode("%%"), None);
        assert_eq!(decode("/w=="), None, "not UTF-8");
    }
}
