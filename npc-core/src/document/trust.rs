//! The trust: which keys may sign what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Body, Kind};
use crate::key::{KeyName, PublicKey};
use crate::name::RemoteName;

/// A set of keys of which `threshold` different ones must sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Names of keys in [`Trust::keys`].
    pub keys: BTreeSet<KeyName>,
    /// How many of them must have signed.
    pub threshold: usize,
}

impl Role {
    /// The role of one key.
    pub fn of(key: KeyName) -> Self {
        Self { keys: BTreeSet::from([key]), threshold: 1 }
    }
}

/// Who may sign releases of the remotes that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRole {
    /// A remote's name in which `*` stands for any run of characters.
    pub remotes: String,
    /// The keys and how many of them.
    #[serde(flatten)]
    pub role: Role,
}

impl ReleaseRole {
    fn matches(&self, remote: &RemoteName) -> bool {
        matches_pattern(self.remotes.as_bytes(), remote.as_str().as_bytes())
    }
}

/// Matches in time proportional to the product of both lengths, without recursion: patterns come from outside.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                retry = Some((at_pattern + 1, at_text));
                at_pattern += 1;
            }
            Some(byte) if *byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match retry {
                Some((after_star, star_text)) => {
                    retry = Some((after_star, star_text + 1));
                    (at_pattern, at_text) = (after_star, star_text + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

/// What a signature must have the power to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power<'name> {
    /// Change the trust.
    Root,
    /// Say what this remote holds.
    Release(&'name RemoteName),
    /// Say what a host follows.
    Assignment,
    /// Order a rollout.
    Rollout,
}

impl std::fmt::Display for Power<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => formatter.write_str("change the trust"),
            Self::Release(remote) => write!(formatter, "publish to `{remote}`"),
            Self::Assignment => formatter.write_str("assign hosts"),
            Self::Rollout => formatter.write_str("order rollouts"),
        }
    }
}

/// One version of who may sign what. The version is the document's serial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// Every key that has a role, each once.
    pub keys: Vec<PublicKey>,
    /// Who may change the trust.
    pub root: Role,
    /// Who may publish; the first entry whose pattern matches a remote decides alone.
    pub release: Vec<ReleaseRole>,
    /// Who may assign hosts to remotes.
    pub assignment: Role,
    /// Who may order rollouts.
    pub rollout: Role,
    /// Fields of later versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Body for Trust {
    const KIND: Kind = Kind::Trust;
}

/// A trust that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RoleError {
    /// Two keys share a name, or two names share a key: a threshold could be met by one key.
    #[error("key `{0}` is listed twice, by its name or by its bytes")]
    Twice(KeyName),
    /// Nobody could publish to any remote.
    #[error("there is no role for releases of any remote")]
    NoRelease,
    /// A role names a key that is not listed.
    #[error("a role names key `{0}`, which is not listed")]
    Unlisted(KeyName),
    /// A role can never be fulfilled, or always is.
    #[error("the threshold of role `{role}` is {threshold}, of {keys} keys")]
    Threshold {
        /// The role at fault.
        role: String,
        /// Its threshold.
        threshold: usize,
        /// How many keys it has.
        keys: usize,
    },
}

impl Trust {
    /// Whether every role can be fulfilled, and by nothing less than it says.
    pub fn check(&self) -> Result<(), RoleError> {
        let (mut names, mut bytes) = (BTreeSet::new(), BTreeSet::new());
        for key in &self.keys {
            if !names.insert(key.name()) || !bytes.insert(key.bytes()) {
                return Err(RoleError::Twice(key.name().clone()));
            }
        }
        if self.release.is_empty() {
            return Err(RoleError::NoRelease);
        }
        for (label, role) in self.roles() {
            if let Some(unlisted) = role.keys.iter().find(|key| !names.contains(key)) {
                return Err(RoleError::Unlisted(unlisted.clone()));
            }
            if role.threshold == 0 || role.threshold > role.keys.len() {
                return Err(RoleError::Threshold { role: label, threshold: role.threshold, keys: role.keys.len() });
            }
        }
        Ok(())
    }

    /// Every role with a label for people.
    pub fn roles(&self) -> Vec<(String, &Role)> {
        let fixed = [("root", &self.root), ("assignment", &self.assignment), ("rollout", &self.rollout)];
        let release = self.release.iter().map(|entry| (format!("release {}", entry.remotes), &entry.role));
        fixed.into_iter().map(|(label, role)| (label.to_owned(), role)).chain(release).collect()
    }

    /// The role that has `power`; none where no release pattern matches.
    pub fn role(&self, power: Power<'_>) -> Option<&Role> {
        match power {
            Power::Root => Some(&self.root),
            Power::Assignment => Some(&self.assignment),
            Power::Rollout => Some(&self.rollout),
            Power::Release(remote) => self.release.iter().find(|entry| entry.matches(remote)).map(|entry| &entry.role),
        }
    }

    /// The public keys of `role`.
    pub fn keys_of<'a>(&'a self, role: &'a Role) -> impl Iterator<Item = &'a PublicKey> {
        self.keys.iter().filter(|key| role.keys.contains(key.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;
    use zeroize::Zeroizing;

    fn key(name: &str, seed: u8) -> PublicKey {
        SecretKey::from_seed(name.parse().expect("a key name"), &Zeroizing::new([seed; 32])).public()
    }

    fn trust(keys: Vec<PublicKey>) -> Trust {
        let role = Role::of(keys[0].name().clone());
        Trust {
            keys,
            root: role.clone(),
            release: vec![ReleaseRole { remotes: "*".into(), role: role.clone() }],
            assignment: role.clone(),
            rollout: role,
            other: Map::new(),
        }
    }

    #[test]
    fn patterns_match_like_globs() {
        for (pattern, text, expected) in [
            ("prod", "prod", true),
            ("prod", "prod2", false),
            ("*", "anything", true),
            ("pr*d", "prod", true),
            ("pr*d", "produce", false),
            ("*-eu*", "web-eu-1", true),
            ("a*b*c", "a-b-b-c", true),
            ("", "x", false),
        ] {
            assert_eq!(matches_pattern(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_matching_pattern_decides_alone() {
        let mut trust = trust(vec![key("npc-a", 1), key("npc-b", 2)]);
        let prod = ReleaseRole { remotes: "prod".into(), role: Role::of("npc-b".parse().expect("a key name")) };
        trust.release.insert(0, prod);
        let role = |remote: &str| {
            let remote = remote.parse().expect("a name");
            trust.role(Power::Release(&remote)).cloned()
        };
        assert_eq!(role("prod"), Some(trust.release[0].role.clone()));
        assert_eq!(role("staging"), Some(trust.release[1].role.clone()));
    }

    #[test]
    fn one_key_under_two_names_is_refused() {
        let twins = trust(vec![key("npc-a", 1), key("npc-b", 1)]);
        assert!(matches!(twins.check(), Err(RoleError::Twice(_))));
        let namesakes = trust(vec![key("npc-a", 1), key("npc-a", 2)]);
        assert!(matches!(namesakes.check(), Err(RoleError::Twice(_))));
    }

    #[test]
    fn thresholds_must_be_reachable_and_not_empty() {
        for threshold in [0, 2] {
            let mut trust = trust(vec![key("npc-a", 1)]);
            trust.root.threshold = threshold;
            assert!(matches!(trust.check(), Err(RoleError::Threshold { .. })));
        }
    }
}
