//! Credentials as a child gets them: in its environment and in files of a private folder, never as an
//! argument.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_gitsync::base64;
use tidegate_gitsync::remote::{Credentials, RemoteError};

use crate::address::{Address, Protocol};

/// Longest key, list of hosts, name or password.
const MAX_BYTES: usize = 1 << 20;

/// A repository's address, with what lets us in.
pub(crate) struct Access {
    pub(crate) address: Address,
    /// Configuration of git: keys and values.
    pub(crate) config: Vec<(String, String)>,
    /// Variables of the environment.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// What must never be seen.
    secrets: Vec<String>,
    /// Removed with all in it when nobody needs it any more.
    _folder: Option<TempDir>,
}

impl Access {
    /// Puts keys into a folder below `private`.
    ///
    /// # Errors
    /// `Refused` if the credentials are of another kind than the address needs.
    pub(crate) fn new(
        address: Address,
        credentials: &Credentials,
        private: &Path,
    ) -> Result<Self, RemoteError> {
        let mut access = Self {
            address,
            config: Vec::new(),
            variables: Vec::new(),
            secrets: Vec::new(),
            _folder: None,
        };
        match (access.address.protocol(), credentials) {
            (Protocol::Https | Protocol::Http, Credentials::Basic { username, password }) => {
                access.basic(username, password)?;
            }
            (Protocol::Ssh, Credentials::Ssh { key, known_hosts }) => {
                let folder = access.ssh(key, known_hosts, private)?;
                return Ok(Self {
                    _folder: Some(folder),
                    ..access
                });
            }
            (Protocol::Https | Protocol::Http | Protocol::File, Credentials::None) => {}
            (Protocol::Ssh, _) => {
                return Err(access.refused("SSH needs a private key and known_hosts in the credentials"));
            }
            (Protocol::File, _) => return Err(access.refused("file:// takes no credentials")),
            (_, Credentials::Ssh { .. }) => {
                return Err(
                    access.refused("a private key is for SSH: give a user name and a password or token")
                );
            }
        }
        Ok(access)
    }

    /// The text without anything secret.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let scrub = |text: String, secret: &String| text.replace(secret.as_str(), "***");
        self.secrets.iter().fold(text.to_owned(), scrub)
    }

    fn refused(&self, message: &str) -> RemoteError {
        RemoteError::Refused(format!("{}: {message}", self.address))
    }

    fn basic(&mut self, username: &str, password: &str) -> Result<(), RemoteError> {
        let bad = |text: &str| text.len() > MAX_BYTES || text.contains(char::is_control);
        if bad(username) || bad(password) || username.contains(':') {
            return Err(self.refused("user name or password hold a line break or another control character"));
        }
        // Forges look at the token alone, but some want a name beside it.
        let username = if username.is_empty() { "git" } else { username };
        let encoded = base64::encode(format!("{username}:{password}").as_bytes());
        let origin = self.address.origin().unwrap_or_default();
        self.config.push((
            format!("http.{origin}.extraHeader"),
            format!("Authorization: Basic {encoded}"),
        ));
        self.secrets = vec![encoded, password.to_owned()];
        self.secrets.retain(|secret| !secret.is_empty());
        Ok(())
    }

    fn ssh(&mut self, key: &str, known_hosts: &str, private: &Path) -> Result<TempDir, RemoteError> {
        if key.len() > MAX_BYTES || known_hosts.len() > MAX_BYTES {
            return Err(self.refused("the private key or known_hosts is larger than 1 MiB"));
        }
        let written = write_keys(key, known_hosts, private).map_err(|error| {
            RemoteError::Unavailable(format!(
                "{}: the private key cannot be written: {error}",
                self.address
            ))
        });
        let (folder, key_file, hosts_file) = written?;
        self.variables = vec![
            ("GIT_SSH_COMMAND", ssh_command(&key_file, &hosts_file)),
            ("GIT_SSH_VARIANT", "ssh".to_owned()),
        ];
        // whole lines: a part of one says nothing
        self.secrets = key
            .lines()
            .map(str::trim)
            .filter(|line| line.len() > 8)
            .map(str::to_owned)
            .collect();
        Ok(folder)
    }
}

/// Only what is named here is used: no configuration, agent, password or unknown host. The paths need no
/// quotes: the cache folder's name has been looked at.
fn ssh_command(key: &Path, hosts: &Path) -> String {
    let options = [
        "IdentitiesOnly=yes".to_owned(),
        "IdentityAgent=none".to_owned(),
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        format!("UserKnownHostsFile={}", hosts.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
        "ConnectTimeout=20".to_owned(),
        "ServerAliveInterval=15".to_owned(),
    ];
    let options = options.map(|option| format!(" -o {option}")).concat();
    format!("ssh -F none -i {}{options}", key.display())
}

fn write_keys(key: &str, known_hosts: &str, private: &Path) -> std::io::Result<(TempDir, PathBuf, PathBuf)> {
    let folder = tempfile::Builder::new()
        .prefix("ssh")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(private)?;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // ssh takes no key whose last line does not end
        writeln!(file, "{}", text.trim_end())?;
        Ok::<_, std::io::Error>(path)
    };
    let (key, hosts) = (write("key", key)?, write("known_hosts", known_hosts)?);
    Ok((folder, key, hosts))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn address(url: &str) -> Address {
        let all = BTreeSet::from([Protocol::Https, Protocol::Ssh, Protocol::Http, Protocol::File]);
        Address::parse(url, &all).unwrap()
    }

    #[test]
    fn a_password_goes_into_the_configuration_of_one_origin() {
        let credentials = Credentials::Basic {
            username: "robot".to_owned(),
            password: "hunter2".to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let access = Access::new(address("https://git.test/a"), &credentials, folder.path()).unwrap();
        assert_eq!(
            access.config,
            [(
                "http.https://git.test/.extraHeader".to_owned(),
                "Authorization: Basic cm9ib3Q6aHVudGVyMg==".to_owned()
            )]
        );
        assert_eq!(
            access.scrub("hunter2 or Basic cm9ib3Q6aHVudGVyMg== at git.test"),
            "*** or Basic *** at git.test"
        );
    }

    #[test]
    fn a_key_is_in_a_private_file_for_as_long_as_it_is_needed() {
        let credentials = Credentials::Ssh {
            key: "-----BEGIN KEY-----\nc2VjcmV0c2VjcmV0\n-----END KEY-----".to_owned(),
            known_hosts: "git.test ssh-ed25519 AAAA\n".to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let access = Access::new(address("git@git.test:a"), &credentials, folder.path()).unwrap();
        let (_, command) = access.variables.first().unwrap();
        let key = command.split(' ').nth(4).unwrap();
        assert_eq!(
            std::fs::read_to_string(key).unwrap(),
            "-----BEGIN KEY-----\nc2VjcmV0c2VjcmV0\n-----END KEY-----\n"
        );
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(Path::new(key)), 0o600);
        assert_eq!(mode(Path::new(key).parent().unwrap()), 0o700);
        for part in [
            "-F none",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
        ] {
            assert!(command.contains(part), "{command}");
        }
        assert!(!command.contains("c2VjcmV0c2VjcmV0"));
        assert!(access.config.is_empty());
        assert_eq!(access.scrub("Load key c2VjcmV0c2VjcmV0"), "Load key ***");
        drop(access);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn credentials_of_another_kind_are_refused() {
        let basic = |username: &str, password: &str| Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        let key = Credentials::Ssh {
            key: "key".to_owned(),
            known_hosts: String::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        for (url, credentials) in [
            ("https://git.test/a", key.clone()),
            ("git@git.test:a", Credentials::None),
            ("git@git.test:a", basic("robot", "word")),
            ("file:///a", key),
            ("https://git.test/a", basic("robot", "word\r\nX-Other: 1")),
            ("https://git.test/a", basic("ro:bot", "word")),
        ] {
            let refused = Access::new(address(url), &credentials, folder.path()).err();
            assert!(
                matches!(&refused, Some(RemoteError::Refused(message)) if message.starts_with(url)),
                "{refused:?}"
            );
        }
    }
}
