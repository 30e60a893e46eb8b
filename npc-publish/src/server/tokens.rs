//! Whose token is whose: files with one token a line, read anew when they change.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header};
use npc_core::digest::Digest;
use npc_core::files;
use npc_core::name::HostName;
use npc_core::store::{Token, TokenError};
use thiserror::Error;

use super::access::{Bearer, Host};
use super::stamp::Stamp;

/// Why a file of tokens is not taken. No message shows what may be a token.
#[derive(Debug, Error)]
pub(crate) enum TokensError {
    /// The file cannot be read.
    #[error("cannot read the tokens in `{}`", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Others than its owner can read it.
    #[error("`{}` can be read by others than its owner", .0.display())]
    Exposed(PathBuf),
    /// The file of the operators' tokens holds none.
    #[error("`{}` holds no token", .0.display())]
    Empty(PathBuf),
    /// A line is not in order.
    #[error("line {line} of `{}` is not in order", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: LineError,
    },
}

impl TokensError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Exposed(path) => format!("chmod 600 {}", path.display()),
            Self::Line { source: LineError::Host | LineError::Fields | LineError::Assignment, .. } => {
                "a host's line is HOST TOKEN [ASSIGNMENT]".to_owned()
            }
            Self::Line { source: LineError::Twice(_), .. } => "say what it obeys in one line".to_owned(),
            Self::Line { .. } | Self::Empty(_) => "make a token with `openssl rand -base64 32`".to_owned(),
            Self::Read(..) => "check that it is there, and who may read it".to_owned(),
        }
    }
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub(crate) enum LineError {
    /// Too many words, or too few.
    #[error("it has not two or three words")]
    Fields,
    /// The first word cannot be a host's name.
    #[error("it does not begin with a host's name")]
    Host,
    /// The third word cannot be an assignment's name.
    #[error("it does not end with an assignment's name")]
    Assignment,
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The host has a line already.
    #[error("the host `{0}` has a line already")]
    Twice(HostName),
    /// Somebody else bears the token already.
    #[error("the token is somebody else's already")]
    Taken,
}

/// Where tokens are read from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The operators' tokens, one a line.
    pub(crate) operators: Option<PathBuf>,
    /// The hosts' tokens, one a line with the name of the host before it. With this file, reading takes a token.
    pub(crate) hosts: Option<PathBuf>,
}

impl Sources {
    /// Whether there are no tokens at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.operators.is_none() && self.hosts.is_none()
    }

    /// Reads all files.
    pub(crate) fn read(&self) -> Result<Tokens, TokensError> {
        let mut tokens = Tokens { bearers: HashMap::new(), reading_is_open: self.hosts.is_none() };
        if let Some(path) = &self.operators {
            tokens.read(path, |line| Ok((Bearer::Operator, Token::new(line)?)))?;
            if tokens.bearers.is_empty() {
                return Err(TokensError::Empty(path.clone()));
            }
        }
        if let Some(path) = &self.hosts {
            let mut known = HashSet::new();
            tokens.read(path, |line| {
                let (host, token) = host_line(line)?;
                if !known.insert(host.name.clone()) {
                    return Err(LineError::Twice(host.name));
                }
                Ok((Bearer::Host(host), token))
            })?;
        }
        Ok(tokens)
    }

    /// What tells whether a file has changed since.
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        let paths = [&self.operators, &self.hosts].into_iter().flatten();
        paths.map(|path| path.metadata().ok().map(|metadata| Stamp::of(&metadata))).collect()
    }
}

/// `HOST TOKEN [ASSIGNMENT]`
fn host_line(line: &str) -> Result<(Host, Token), LineError> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(token), assignment, None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(LineError::Fields);
    };
    let host = Host {
        name: name.parse().map_err(|_| LineError::Host)?,
        assignment: assignment.unwrap_or(name).parse().map_err(|_| LineError::Assignment)?,
    };
    Ok((host, Token::new(token)?))
}

/// Everybody who is known by a token. Tokens are kept and compared as digests: how long that takes tells nothing about them.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    bearers: HashMap<Digest, Bearer>,
    reading_is_open: bool,
}

impl Tokens {
    /// Adds what a file says, line by line; empty ones and comments are skipped.
    fn read(
        &mut self,
        path: &Path,
        mut understand: impl FnMut(&str) -> Result<(Bearer, Token), LineError>,
    ) -> Result<(), TokensError> {
        let cannot = |error| TokensError::Read(path.to_owned(), error);
        if files::is_readable_by_others(path).map_err(cannot)? {
            return Err(TokensError::Exposed(path.to_owned()));
        }
        let text = zeroize::Zeroizing::new(fs::read_to_string(path).map_err(cannot)?);
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let taken = understand(line).and_then(|(bearer, token)| self.add(bearer, &token));
            taken.map_err(|source| TokensError::Line { path: path.to_owned(), line: number + 1, source })?;
        }
        Ok(())
    }

    fn add(&mut self, bearer: Bearer, token: &Token) -> Result<(), LineError> {
        match self.bearers.entry(Digest::of(token.reveal().as_bytes())) {
            Entry::Vacant(vacant) => {
                vacant.insert(bearer);
                Ok(())
            }
            // That an operator's token is there twice changes nothing, and always was allowed.
            Entry::Occupied(known) if *known.get() == bearer => Ok(()),
            Entry::Occupied(_) => Err(LineError::Taken),
        }
    }

    /// Who sent a request with these headers; nobody where it takes a token that it does not bear.
    pub(super) fn bearer(&self, headers: &HeaderMap) -> Option<Bearer> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer "));
        let known = token.and_then(|token| self.bearers.get(&Digest::of(token.as_bytes()))).cloned();
        known.or_else(|| self.reading_is_open.then_some(Bearer::Anyone))
    }

    /// Whether a token could help somebody who has none.
    pub(super) fn are_there(&self) -> bool {
        !self.bearers.is_empty()
    }

    /// How many hosts have a token.
    pub(crate) fn hosts(&self) -> usize {
        self.bearers.values().filter(|bearer| matches!(bearer, Bearer::Host(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens for hosts of this text, beside those of an operator.
    fn read(hosts: &str) -> Result<Tokens, TokensError> {
        let folder = tempfile::tempdir().expect("a folder");
        let (operators, path) = (folder.path().join("operators"), folder.path().join("hosts"));
        files::create_private(&operators, b"# who publishes\noperator-0123456789\noperator-0123456789\n")
            .expect("made");
        files::create_private(&path, hosts.as_bytes()).expect("made");
        Sources { operators: Some(operators), hosts: Some(path) }.read()
    }

    fn bearer(tokens: &Tokens, authorization: &'static str) -> Option<Bearer> {
        let value = header::HeaderValue::from_static(authorization);
        tokens.bearer(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    #[test]
    fn a_token_says_which_host_it_is_and_what_that_obeys() {
        let text = "# comment\n\nweb-1 token-of-web-1-0\n  w-7\ttoken-of-w-7-0000 workers\n";
        let tokens = read(text).expect("in order");
        let host = |name: &str, assignment: &str| {
            let host = Host { name: name.parse().expect("a name"), assignment: assignment.parse().expect("a name") };
            Some(Bearer::Host(host))
        };
        assert_eq!(bearer(&tokens, "Bearer token-of-web-1-0"), host("web-1", "web-1"));
        assert_eq!(bearer(&tokens, "Bearer token-of-w-7-0000"), host("w-7", "workers"));
        assert_eq!(bearer(&tokens, "Bearer operator-0123456789"), Some(Bearer::Operator));
        for stranger in ["Bearer token-of-web-1-", "Bearer web-1 token-of-web-1-0", "token-of-web-1-0", "Bearer "] {
            assert_eq!(bearer(&tokens, stranger), None, "{stranger}");
        }
        assert_eq!(tokens.hosts(), 2);
    }

    #[test]
    fn without_hosts_tokens_anyone_may_read() {
        let tokens = Sources { operators: None, hosts: None }.read().expect("nothing to be wrong");
        assert_eq!(tokens.bearer(&HeaderMap::new()), Some(Bearer::Anyone));
        assert!(!tokens.are_there());
        assert_eq!(read("").expect("hosts may come later").bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_with_its_number_and_without_its_token() {
        for (text, line, words) in [
            ("web-1 short", 1, "16 or more"),
            ("\n# x\nweb-1", 3, "two or three words"),
            ("web-1 secret-0123456789 workers more", 1, "two or three words"),
            ("secret-0123456789 Web-1", 1, "16 or more"),
            ("Secret-0123456789 web-1", 1, "host's name"),
            ("web-1 secret-0123456789 Workers", 1, "assignment's name"),
            ("web-1 secret-0123456789\nweb-1 secret-9876543210", 2, "`web-1` has a line already"),
            ("web-1 secret-0123456789\nweb-2 secret-0123456789", 2, "somebody else's"),
            ("web-1 operator-0123456789", 1, "somebody else's"),
        ] {
            let error = read(text).expect_err(text);
            let said = npc_core::explain::in_one_line(&error);
            assert!(said.contains(&format!("line {line} ")) && said.contains(words), "{said}");
            assert!(!said.to_lowercase().contains("secret-") && !said.contains("operator-"), "{said}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts");
        files::create_private(&path, b"web-1 token-of-web-1-0\n").expect("made");
        let sources = Sources { operators: None, hosts: Some(path.clone()) };
        let before = sources.stamps();
        assert!(sources.read().is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(sources.read(), Err(TokensError::Exposed(_))));
        assert!(before != sources.stamps(), "it is looked at again once that is mended");
    }
}
