//! Who made a commit and what it says.

use jiff::Timestamp;
use tidegate_gitsync::remote::CommitInfo;
use tidegate_gitsync::tree::Oid;

use crate::trouble::quote;

/// Most trailers that are read.
const MAX_TRAILERS: usize = 50;

/// What [`parse`] reads: tree, author, time of the commit, message.
pub(super) const FORMAT: &str = "--format=%T%x00%an%x00%ct%x00%B";

/// The tree of a commit and what it says.
pub(super) fn parse(output: &[u8]) -> Option<(Oid, CommitInfo)> {
    let text = String::from_utf8_lossy(output);
    let mut parts = text.splitn(4, '\0');
    let (tree, author, time, message) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let info = CommitInfo {
        subject: quote(message.trim_start().lines().next().unwrap_or_default()),
        author: quote(author),
        trailers: trailers(message),
        time: Timestamp::from_second(time.parse().ok()?).ok()?,
        unsigned: None,
    };
    Some((Oid::parse(tree)?, info))
}

/// The trailers of a message: its last paragraph, if it is not the first and holds nothing else. Lines that
/// begin with a space go on.
fn trailers(message: &str) -> Vec<(String, String)> {
    let message = message.replace("\r\n", "\n");
    let message = message.trim();
    let Some((_, last)) = message.rsplit_once("\n\n") else {
        return Vec::new();
    };
    let mut trailers: Vec<(String, String)> = Vec::new();
    for line in last.lines() {
        if line.starts_with([' ', '\t'])
            && let Some((_, value)) = trailers.last_mut()
        {
            *value = quote(&format!("{value} {line}"));
        } else if let Some((key, value)) = line.split_once(':').filter(|(key, _)| is_key(key)) {
            trailers.push((key.to_owned(), quote(value)));
        } else if !line.starts_with("(cherry picked from commit ") {
            return Vec::new();
        }
    }
    trailers.truncate(MAX_TRAILERS);
    trailers
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 100
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_with_and_without_trailers() {
        let trailer = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for (message, subject, trailers) in [
            ("Release 2\n", "Release 2", vec![]),
            ("Fixes: a thing", "Fixes: a thing", vec![]),
            (
                "\nRelease 2\n\nBody: not one\nbut text\n\nDelivery-Reverts: 12\nSigned-off-by: A <a@b>\n\n",
                "Release 2",
                vec![
                    trailer("Delivery-Reverts", "12"),
                    trailer("Signed-off-by", "A <a@b>"),
                ],
            ),
            (
                "Release 2\r\n\r\nLong: one\r\n  two\r\n(cherry picked from commit 1)\r\n",
                "Release 2",
                vec![trailer("Long", "one two")],
            ),
            ("Red \u{1b}[31m\n\nKey: a\nno trailer\n", "Red [31m", vec![]),
            ("A\n\n: empty\n", "A", vec![]),
            ("", "", vec![]),
        ] {
            let output = format!("{}\0Ann\u{7}\01700000000\0{message}", "a".repeat(40));
            let (tree, info) = parse(output.as_bytes()).unwrap();
            assert_eq!(tree.as_str(), "a".repeat(40));
            let expected = CommitInfo {
                subject: subject.to_owned(),
                author: "Ann".to_owned(),
                trailers,
                time: Timestamp::from_second(1_700_000_000).unwrap(),
                unsigned: None,
            };
            assert_eq!(info, expected, "{message:?}");
        }
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"a\0b\0c\0d"), None);
    }
}
