//! Where each object of format 1 lies in a store.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::digest::Digest;
use crate::document::Serial;
use crate::name::{AssignmentName, HostName, RemoteName, RolloutName};

/// What format 1 has at the top of a store, and `probe`, where a store's abilities are tried out.
pub const FOLDERS: [&str; 9] =
    ["trust", "remotes", "releases", "archives", "assignments", "reports", "rollouts", "binaries", "probe"];

/// The relative path of an object: one of format 1's folders, then segments of `a-z`, `0-9`, `.`, `_` and `-`, joined by
/// `/`, none of them hidden.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Text that is not an object's path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not the path of an object")]
pub struct ObjectKeyError(String);

impl ObjectKey {
    /// The path as text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one of [`FOLDERS`] that the object lies in.
    pub fn folder(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// What follows the last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Whether the object never changes once written: only pointers do.
    pub fn is_immutable(&self) -> bool {
        ["trust/", "releases/", "archives/", "binaries/"].iter().any(|prefix| self.0.starts_with(prefix))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;

    fn from_str(text: &str) -> Result<Self, ObjectKeyError> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
        let segment = |segment: &str| {
            !segment.is_empty() && segment.len() <= 128 && !segment.starts_with('.') && segment.bytes().all(legal)
        };
        let (folder, below) = text.split_once('/').unwrap_or((text, ""));
        let depth = below.split('/').count();
        if FOLDERS.contains(&folder) && depth <= 3 && below.split('/').all(segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ObjectKeyError(text.to_owned()))
        }
    }
}

/// A version of the trust.
pub fn trust(version: Serial) -> ObjectKey {
    ObjectKey(format!("trust/{version}.json"))
}

/// The remote's current release: the object that agents poll.
pub fn remote(name: &RemoteName) -> ObjectKey {
    ObjectKey(format!("remotes/{name}.json"))
}

/// A release that the remote has or had.
pub fn release(remote: &RemoteName, serial: Serial) -> ObjectKey {
    ObjectKey(format!("releases/{remote}/{serial}.json"))
}

/// An archive.
pub fn archive(digest: &Digest) -> ObjectKey {
    ObjectKey(format!("archives/{digest}.tar.gz"))
}

/// An agent for bootstrapping.
pub fn binary(digest: &Digest) -> ObjectKey {
    ObjectKey(format!("binaries/{digest}"))
}

/// An assignment.
pub fn assignment(name: &AssignmentName) -> ObjectKey {
    ObjectKey(format!("assignments/{name}.json"))
}

/// What a host last said of itself.
pub fn report(host: &HostName) -> ObjectKey {
    ObjectKey(format!("reports/{host}.json"))
}

/// A rollout's signed intent.
pub fn rollout(name: &RolloutName) -> ObjectKey {
    ObjectKey(format!("rollouts/{name}.json"))
}

/// What all archives' keys begin with.
pub const ARCHIVES: &str = "archives/";

/// What the keys of all releases of all remotes begin with.
pub const RELEASES: &str = "releases/";

/// What all remotes' keys begin with.
pub const REMOTES: &str = "remotes/";

/// What all assignments' keys begin with.
pub const ASSIGNMENTS: &str = "assignments/";

/// What all reports' keys begin with.
pub const REPORTS: &str = "reports/";

/// What all rollouts' keys begin with.
pub const ROLLOUTS: &str = "rollouts/";

/// What the keys of all releases of `remote` begin with.
pub fn releases(remote: &RemoteName) -> String {
    format!("releases/{remote}/")
}

/// The serial in the name of a release or a trust version, if it is one.
pub fn serial_of(key: &ObjectKey) -> Option<Serial> {
    let digits = key.file_name().strip_suffix(".json")?;
    let serial = digits.parse().ok().and_then(Serial::new)?;
    (serial.to_string() == digits).then_some(serial)
}

/// The digest in the name of an archive, if it is one.
pub fn archive_of(key: &ObjectKey) -> Option<Digest> {
    key.as_str().strip_prefix(ARCHIVES)?.strip_suffix(".tar.gz")?.parse().ok()
}

/// Remote and serial in the name of a release, if it is one.
pub fn release_of(key: &ObjectKey) -> Option<(RemoteName, Serial)> {
    let (remote, _) = key.as_str().strip_prefix(RELEASES)?.split_once('/')?;
    let named = (remote.parse().ok()?, serial_of(key)?);
    (release(&named.0, named.1) == *key).then_some(named)
}

/// What a document's key names between `prefix` and `.json`: a remote, an assignment, a host, a rollout.
pub fn name_of<N: FromStr>(key: &ObjectKey, prefix: &str) -> Option<N> {
    key.as_str().strip_prefix(prefix)?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_store() {
        for bad in [
            "",
            "trust",
            "/trust/1.json",
            "trust/../x",
            "trust//b",
            "trust/.hidden",
            "trust/B",
            "trust/b/c/d/e",
            "trust/b?c",
            "etc/passwd",
        ] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad}");
        }
        assert!("releases/prod/12.json".parse::<ObjectKey>().is_ok());
    }

    #[test]
    fn a_serial_has_one_spelling() {
        let serial = |text: &str| serial_of(&text.parse().expect("a key"));
        assert_eq!(serial("releases/prod/12.json"), Serial::new(12));
        assert_eq!(serial("releases/prod/012.json"), None);
        assert_eq!(serial("releases/prod/0.json"), None);
        assert_eq!(serial("releases/prod/x.json"), None);
    }

    #[test]
    fn a_key_says_what_it_is_the_place_of() {
        let key = |text: &str| text.parse::<ObjectKey>().expect("a key");
        let (prod, digest) = ("prod".parse::<RemoteName>().expect("a name"), Digest::of(b"archive"));
        assert_eq!(archive_of(&archive(&digest)), Some(digest));
        assert_eq!(release_of(&release(&prod, Serial::FIRST)), Some((prod.clone(), Serial::FIRST)));
        assert_eq!(name_of(&remote(&prod), REMOTES), Some(prod));
        for other in ["archives/0.tar.gz", "archives/0", "binaries/0"] {
            assert_eq!(archive_of(&key(other)), None, "{other}");
        }
        for other in ["releases/prod/01.json", "releases/prod/1", "releases/1.json", "releases/prod/old/1.json"] {
            assert_eq!(release_of(&key(other)), None, "{other}");
        }
        for other in ["remotes/prod", "remotes/prod/1.json", "reports/prod.json"] {
            assert_eq!(name_of::<RemoteName>(&key(other), REMOTES), None, "{other}");
        }
    }
}
