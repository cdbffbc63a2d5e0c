//! Addresses of repositories: which are let through to `git`.

use std::collections::BTreeSet;
use std::fmt;

use tidegate_gitsync::remote::RemoteError;
use url::Url;

/// Longest address.
const MAX_LENGTH: usize = 2_048;

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `https://`.
    Https,
    /// `ssh://` and `USER@HOST:PATH`.
    Ssh,
    /// `http://`: everybody on the way reads along, credentials too.
    Http,
    /// `file://`: folders of this machine.
    File,
}

impl Protocol {
    /// As git names it in `GIT_ALLOW_PROTOCOL`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::Http => "http",
            Self::File => "file",
        }
    }

    fn of(scheme: &str) -> Option<Self> {
        [Self::Https, Self::Ssh, Self::Http, Self::File]
            .into_iter()
            .find(|protocol| protocol.name() == scheme)
    }
}

/// An address that has been looked at: safe as an argument and in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    text: String,
    protocol: Protocol,
    /// Scheme, host and port with a slash, for HTTP: credentials go nowhere else.
    origin: Option<String>,
}

impl Address {
    /// Looks at an address.
    ///
    /// # Errors
    /// `Refused` with the reason; the address itself is left out, for it may hold a password.
    pub(crate) fn parse(text: &str, allowed: &BTreeSet<Protocol>) -> Result<Self, RemoteError> {
        let address = look_at(text).map_err(|reason| refused(&reason))?;
        if allowed.contains(&address.protocol) {
            Ok(address)
        } else {
            let names: Vec<_> = allowed.iter().map(|protocol| protocol.name()).collect();
            Err(refused(&format!(
                "protocol {} is not allowed, use one of: {}",
                address.protocol.name(),
                names.join(", ")
            )))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn refused(reason: &str) -> RemoteError {
    RemoteError::Refused(format!("URL of the repository: {reason}"))
}

fn look_at(text: &str) -> Result<Address, String> {
    if text.is_empty() || text.len() > MAX_LENGTH {
        return Err(format!("it is empty or longer than {MAX_LENGTH} bytes"));
    }
    if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return Err("it holds a space or a control character".to_owned());
    }
    if text.starts_with('-') {
        return Err("it begins with a dash".to_owned());
    }
    if text.contains("://") {
        with_scheme(text)
    } else {
        scp_like(text)
    }
}

fn with_scheme(text: &str) -> Result<Address, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not valid: {error}"))?;
    let Some(protocol) = Protocol::of(url.scheme()) else {
        return Err(format!(
            "protocol {} is not known, use https or ssh",
            url.scheme()
        ));
    };
    let web = matches!(protocol, Protocol::Https | Protocol::Http);
    if url.password().is_some() || (web && !url.username().is_empty()) {
        return Err("it holds credentials: put them into the Secret instead".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it holds a query or a fragment".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() != (protocol == Protocol::File) {
        return Err("write PROTOCOL://HOST/PATH, or file:///PATH".to_owned());
    }
    if host.starts_with('-') || url.username().starts_with('-') || url.path().trim_matches('/').is_empty() {
        return Err("host and user must not begin with a dash, and there must be a path".to_owned());
    }
    Ok(Address {
        origin: web.then(|| format!("{}/", url.origin().ascii_serialization())),
        // as parsed: git must not understand another host than we do
        text: url.into(),
        protocol,
    })
}

/// `USER@HOST:PATH`.
fn scp_like(text: &str) -> Result<Address, String> {
    let parts = text
        .split_once('@')
        .and_then(|(user, rest)| rest.split_once(':').map(|(host, path)| (user, host, path)));
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with(['-', '.'])
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match parts {
        Some((user, host, path))
            if word(user) && word(host) && !path.is_empty() && !path.starts_with(['-', ':']) =>
        {
            Ok(Address {
                text: text.to_owned(),
                protocol: Protocol::Ssh,
                origin: None,
            })
        }
        _ => Err("write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_let_through() {
        let all = BTreeSet::from([Protocol::Https, Protocol::Ssh, Protocol::Http, Protocol::File]);
        for (text, given, protocol, origin) in [
            (
                "https://git.test/a/b.git",
                "https://git.test/a/b.git",
                Protocol::Https,
                Some("https://git.test/"),
            ),
            (
                "HTTPS://GIT.test:443/a",
                "https://git.test/a",
                Protocol::Https,
                Some("https://git.test/"),
            ),
            (
                "http://[::1]:3000/a",
                "http://[::1]:3000/a",
                Protocol::Http,
                Some("http://[::1]:3000/"),
            ),
            (
                "https://good.test\\@evil.test/a",
                "https://good.test/@evil.test/a",
                Protocol::Https,
                Some("https://good.test/"),
            ),
            (
                "ssh://git@git.test:22/a",
                "ssh://git@git.test:22/a",
                Protocol::Ssh,
                None,
            ),
            (
                "git@git.test:a/b.git",
                "git@git.test:a/b.git",
                Protocol::Ssh,
                None,
            ),
            ("file:///srv/a.git", "file:///srv/a.git", Protocol::File, None),
        ] {
            let address = Address::parse(text, &all).unwrap();
            assert_eq!(address.as_str(), given);
            assert_eq!(address.protocol(), protocol, "{text}");
            assert_eq!(address.origin(), origin, "{text}");
        }
    }

    #[test]
    fn addresses_that_are_not() {
        let default = BTreeSet::from([Protocol::Https, Protocol::Ssh]);
        let long = format!("https://git.test/{}", "a".repeat(MAX_LENGTH));
        for text in [
            "",
            "-uupload-pack=touch x",
            "--upload-pack=x",
            "/srv/a.git",
            "../a",
            "a",
            "ext::sh -c x",
            "ext::x@y:z",
            "fd::17",
            "http://git.test/a",
            "file:///srv/a",
            "git://git.test/a",
            "https://user:hunter2@git.test/a",
            "https://hunter2@git.test/a",
            "ssh://git:hunter2@git.test/a",
            "https://git.test/a?token=hunter2",
            "https://git.test/a#hunter2",
            "https://git.test",
            "https://git.test/a\nb",
            "https:///",
            "ssh://-oProxyCommand=x/a",
            "ssh://-oProxyCommand=x@git.test/a",
            "-oProxyCommand=x@git.test:a",
            "git@-oProxyCommand=x:a",
            "git@git.test:-x",
            "git@git.test:",
            "git@git.test::x",
            "git:hunter2@git.test:a",
            "git@git.test:a b",
            &long,
        ] {
            match Address::parse(text, &default) {
                Err(RemoteError::Refused(message)) => assert!(!message.contains("hunter2"), "{message}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
