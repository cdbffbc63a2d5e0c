//! From what `git` and servers complain about to errors in our words.

use tidegate_gitsync::remote::RemoteError;

use crate::child::Stopped;

/// Most characters that are taken from somebody else.
const MAX_QUOTE: usize = 300;

const DENIED: [&str; 12] = [
    "authentication failed",
    "could not read username",
    "could not read password",
    "terminal prompts disabled",
    "returned error: 401",
    "returned error: 403",
    "permission denied",
    "host key verification failed",
    "access denied",
    "not authorized",
    "not allowed to",
    "write access to repository not granted",
];
const NOT_FOUND: [&str; 8] = [
    "not our ref",
    "unadvertised object",
    "returned error: 404",
    "does not appear to be a git repository",
    "repository not found",
    "couldn't find remote ref",
    "could not be found",
    "' not found",
];
const REFUSED: [&str; 6] = [
    "' not allowed",
    "fsck error",
    "error in packed object",
    "returned error: 30",
    "from redirection",
    "mismatched algorithms",
];
/// Lines that say nothing about the reason.
const EMPTY: [&str; 6] = [
    "please make sure you have the correct access rights",
    "and the repository exists.",
    "fatal: could not read from remote repository.",
    "fatal: the remote end hung up",
    "error: failed to push some refs",
    "fatal: fetch-pack: invalid index-pack output",
];

/// What a complaint of `git` means. `doing` names what was done and where.
pub(crate) fn explain(doing: &str, complaint: &str) -> RemoteError {
    let lower = complaint.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    let line = reason(complaint);
    if says(&DENIED) {
        RemoteError::Denied(format!("{doing}: not permitted, check the credentials: {line}"))
    } else if says(&NOT_FOUND) {
        RemoteError::NotFound(format!(
            "{doing}: not there, or the credentials do not show it: {line}"
        ))
    } else if says(&REFUSED) {
        RemoteError::Refused(format!("{doing}: refused: {line}"))
    } else {
        RemoteError::Unavailable(format!("{doing}: {line}"))
    }
}

/// Why a child was stopped.
pub(crate) fn stopped(doing: &str, stopped: &Stopped) -> RemoteError {
    let text = format!("{doing}: {stopped}");
    match stopped {
        Stopped::Io(_) | Stopped::TooLong(_) => RemoteError::Unavailable(text),
        Stopped::TooMuch(_) | Stopped::TooBig(_) => RemoteError::Refused(text),
    }
}

/// The last line that says something.
pub(crate) fn reason(complaint: &str) -> String {
    let lines = || {
        complaint
            .split(['\n', '\r'])
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let telling = |line: &&str| {
        let lower = line.to_ascii_lowercase();
        !EMPTY.iter().any(|empty| lower.starts_with(empty))
    };
    let line = lines().rfind(telling).or_else(|| lines().next_back());
    quote(line.unwrap_or("git gave no reason"))
}

/// Somebody else's words in one line, not too long and without control characters.
pub(crate) fn quote(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|char: char| char.is_whitespace() || char.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_and_what_they_mean() {
        let denied =
            |text: &str| RemoteError::Denied(format!("look: not permitted, check the credentials: {text}"));
        let not_found = |text: &str| {
            RemoteError::NotFound(format!(
                "look: not there, or the credentials do not show it: {text}"
            ))
        };
        let refused = |text: &str| RemoteError::Refused(format!("look: refused: {text}"));
        let unavailable = |text: &str| RemoteError::Unavailable(format!("look: {text}"));
        for (complaint, error) in [
            (
                "remote: Invalid username or password.\nfatal: Authentication failed for 'https://x/'\n",
                denied("fatal: Authentication failed for 'https://x/'"),
            ),
            (
                "git@x: Permission denied (publickey).\r\nfatal: Could not read from remote repository.\n\n\
                 Please make sure you have the correct access rights\nand the repository exists.\n",
                denied("git@x: Permission denied (publickey)."),
            ),
            (
                "fatal: unable to access 'https://x/': The requested URL returned error: 403\n",
                denied("fatal: unable to access 'https://x/': The requested URL returned error: 403"),
            ),
            (
                "remote: Repository not found.\nfatal: repository 'https://x/' not found\n",
                not_found("fatal: repository 'https://x/' not found"),
            ),
            (
                "fatal: remote error: upload-pack: not our ref 1234\n",
                not_found("fatal: remote error: upload-pack: not our ref 1234"),
            ),
            (
                "fatal: transport 'file' not allowed\n",
                refused("fatal: transport 'file' not allowed"),
            ),
            (
                "fatal: unable to access 'https://x/': The requested URL returned error: 301\n",
                refused("fatal: unable to access 'https://x/': The requested URL returned error: 301"),
            ),
            (
                "fatal: unable to access 'https://x/': Could not resolve host: x\n",
                unavailable("fatal: unable to access 'https://x/': Could not resolve host: x"),
            ),
            (
                "fatal: unable to access 'https://x/': The requested URL returned error: 503\n",
                unavailable("fatal: unable to access 'https://x/': The requested URL returned error: 503"),
            ),
            ("error:\u{1b}[31m red\u{7}\tx\n", unavailable("error: [31m red x")),
            ("", unavailable("git gave no reason")),
        ] {
            assert_eq!(explain("look", complaint), error);
        }
        assert_eq!(quote(&"a".repeat(999)).len(), MAX_QUOTE);
    }
}
