//! Addresses of stores.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use thiserror::Error;
use url::{Host, Url};

/// An address that makes no sense. It is told without what may be a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{shown}` is not the address of a store: {reason}")]
pub struct StoreUrlError {
    shown: String,
    reason: String,
}

/// The address of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `file:///dir`
    Directory(PathBuf),
    /// `https://host/path/` or `http://host/path/`, with a slash at the end.
    Http(Url),
    /// `s3://bucket/prefix?region=…&endpoint=…`
    S3(S3Url),
}

/// A place in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with: empty, or with a slash at the end.
    pub prefix: String,
    /// The region; otherwise the one that the environment or the machine says.
    pub region: Option<String>,
    /// An S3-compatible service elsewhere than at AWS. Buckets are then named in the path.
    pub endpoint: Option<Url>,
}

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(address: &str) -> Result<Self, StoreUrlError> {
        parse(address).map_err(|reason| StoreUrlError { shown: without_secrets(address), reason })
    }
}

/// As much of an address as can hold neither a password nor a parameter with one, however it is written.
fn without_secrets(address: &str) -> String {
    let (before, after) = address.split_at(address.find(['?', '#']).unwrap_or(address.len()));
    let shown = match before.split_once(':') {
        _ if !before.contains('@') => before,
        Some((scheme, _)) if !scheme.contains('@') => scheme,
        _ => "",
    };
    if shown == before && after.is_empty() { shown.to_owned() } else { format!("{shown}…") }
}

/// Whether it names a user, or holds a password.
fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

const NO_CREDENTIALS: &str = "must not hold a user name or a password";

impl StoreUrl {
    /// Whether the same objects lie at both addresses: a bucket's region only says how it is reached.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let anywhere = |address: &Self| match address {
            Self::S3(address) => Self::S3(S3Url { region: None, ..address.clone() }),
            address => address.clone(),
        };
        anywhere(self) == anywhere(other)
    }
}

const FORMS: &str = "it has the form s3://bucket/prefix?region=…, https://host/path or file:///directory";

fn parse(address: &str) -> Result<StoreUrl, String> {
    let url = Url::parse(address).map_err(|error| format!("{error}; {FORMS}"))?;
    if has_credentials(&url) {
        return Err(format!("it {NO_CREDENTIALS}"));
    }
    if url.fragment().is_some() {
        return Err("nothing can follow `#`".to_owned());
    }
    match url.scheme() {
        "file" => directory(&url),
        "http" | "https" => http(url),
        "s3" => s3(&url).map(StoreUrl::S3),
        other => Err(format!("`{other}:` is no scheme of a store; {FORMS}")),
    }
}

fn directory(url: &Url) -> Result<StoreUrl, String> {
    if url.query().is_some() {
        return Err("a directory takes no parameters".to_owned());
    }
    url.to_file_path()
        .map(StoreUrl::Directory)
        .map_err(|()| "a directory has the form file:///absolute/path".to_owned())
}

fn http(mut url: Url) -> Result<StoreUrl, String> {
    if url.query().is_some() {
        return Err("an HTTP store takes no parameters".to_owned());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(StoreUrl::Http(url))
}

fn s3(url: &Url) -> Result<S3Url, String> {
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("it names no bucket")?;
    let prefix = match url.path().trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let mut parsed = S3Url { bucket: bucket.to_owned(), prefix, region: None, endpoint: None };
    for (name, value) in url.query_pairs() {
        match &*name {
            "region" if !value.is_empty() => parsed.region = Some(value.into_owned()),
            "endpoint" => {
                let endpoint = Url::parse(&value).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                let endpoint = endpoint.ok_or("its endpoint is not an http or https address")?;
                if has_credentials(&endpoint) {
                    return Err(format!("its endpoint {NO_CREDENTIALS}"));
                }
                parsed.endpoint = Some(endpoint);
            }
            other => return Err(format!("`{other}` is no parameter of it: there are region and endpoint")),
        }
    }
    Ok(parsed)
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => match Url::from_file_path(path) {
                Ok(url) => url.fmt(formatter),
                Err(()) => path.display().fmt(formatter),
            },
            Self::Http(url) => url.fmt(formatter),
            Self::S3(address) => address.fmt(formatter),
        }
    }
}

/// What would end a parameter, or stand for something else in one.
const IN_A_QUERY: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+').add(b'<').add(b'>').add(b'?');

impl fmt::Display for S3Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.prefix)?;
        let parameter = |name: &str, value: &str| format!("{name}={}", utf8_percent_encode(value, IN_A_QUERY));
        let region = self.region.as_ref().map(|region| parameter("region", region));
        let endpoint = self.endpoint.as_ref().map(|endpoint| parameter("endpoint", endpoint.as_str()));
        let parameters: Vec<_> = region.into_iter().chain(endpoint).collect();
        if parameters.is_empty() { Ok(()) } else { write!(formatter, "?{}", parameters.join("&")) }
    }
}

/// Whether only this machine can be at that address.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_text() {
        for address in [
            "file:///srv/npc",
            "https://npc.example.org/",
            "http://127.0.0.1:8080/sub/",
            "s3://bucket/",
            "s3://bucket/a/b/?region=eu-west-1",
            "s3://bucket/?region=garage&endpoint=http://127.0.0.1:3900/",
            "s3://bucket/?region=a%26b%2B%23%25&endpoint=https://example.org/%3Fa=b%26c",
        ] {
            let parsed: StoreUrl = address.parse().expect(address);
            assert_eq!(parsed.to_string(), address);
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn a_slash_at_the_end_makes_no_difference() {
        for (one, two) in [("https://x/a", "https://x/a/"), ("s3://b/p", "s3://b/p/")] {
            assert_eq!(one.parse::<StoreUrl>(), two.parse());
        }
    }

    #[test]
    fn a_region_says_how_a_bucket_is_reached_and_not_which_it_is() {
        for (one, two, same) in [
            ("s3://b/p", "s3://b/p/?region=eu-west-1", true),
            ("s3://b/p", "s3://b/q", false),
            ("s3://b/p", "s3://b/p?endpoint=http://127.0.0.1:3900", false),
            ("file:///srv/npc", "file:///srv/npc/", true),
            ("file:///srv/npc", "s3://b/p", false),
        ] {
            let parsed = |address: &str| address.parse::<StoreUrl>().expect(address);
            assert_eq!(parsed(one).is_same_place(&parsed(two)), same, "{one} {two}");
        }
    }

    #[test]
    fn no_password_is_told_or_kept() {
        for address in [
            "https://me:hunter2@host/x",
            "https://me:hunter2@host:port/x",
            "https://hunter2@host/x",
            "hunter2@host",
            "https://host/x#hunter2",
            "s3://me:hunter2@b/p",
            "s3://b/p?endpoint=https://me:hunter2@host",
            "s3://b/p?endpoint=https%3A%2F%2Fme%3Ahunter2%40host",
            "s3://b/p?endpoint=ftp://me:hunter2@host",
            "s3://b/p?secret=hunter2",
            "https://host/x?token=hunter2",
        ] {
            let error = address.parse::<StoreUrl>().expect_err(address).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (address, part) in [
            ("prod", "form"),
            ("ftp://x/y", "scheme"),
            ("s3:///x", "bucket"),
            ("s3://b?regoin=x", "regoin"),
            ("s3://b?endpoint=x", "endpoint"),
            ("file://host/x", "file:///"),
            ("https://user:pass@x/", "password"),
            ("https://x/?a=b", "parameters"),
        ] {
            let error = address.parse::<StoreUrl>().expect_err(address).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
