//! Changing who may sign what.

use std::str::FromStr;

use thiserror::Error;

use super::Unauthorised;
use crate::Timestamp;
use crate::document::{Document, Header, Power, ReleaseRole, Role, RoleError, Serial, SignedDocument, Trust};
use crate::fleet::Fleet;
use crate::key::{KeyName, PublicKey, SecretKey};
use crate::layout;
use crate::name::FleetId;
use crate::store::{ConditionalWrites, Precondition, StoreError, write_document};
use crate::trust::{Refusal, Trusted, chain};

/// A role as an operator names it: `root`, `assignment`, `rollout`, `release` (all remotes) or `release:PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleName {
    /// Who may change the trust.
    Root,
    /// Who may assign hosts.
    Assignment,
    /// Who may order rollouts.
    Rollout,
    /// Who may publish to the remotes of a pattern.
    Release(String),
}

impl FromStr for RoleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        match text.split_once(':') {
            None if text == "root" => Ok(Self::Root),
            None if text == "assignment" => Ok(Self::Assignment),
            None if text == "rollout" => Ok(Self::Rollout),
            None if text == "release" => Ok(Self::Release("*".to_owned())),
            Some(("release", remotes)) if !remotes.is_empty() && remotes.bytes().all(pattern) => {
                Ok(Self::Release(remotes.to_owned()))
            }
            _ => Err(format!("`{text}` is no role: root, assignment, rollout, release or release:PATTERN")),
        }
    }
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => formatter.write_str("root"),
            Self::Assignment => formatter.write_str("assignment"),
            Self::Rollout => formatter.write_str("rollout"),
            Self::Release(remotes) => write!(formatter, "release:{remotes}"),
        }
    }
}

/// One change to the trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives a key a role; a release pattern that is not there yet is put before the others.
    Add(RoleName, PublicKey),
    /// Puts a key in the place of another, in all of its roles.
    Replace(KeyName, PublicKey),
    /// Takes a key out of all of its roles.
    Revoke(KeyName),
    /// Sets how many keys of a role must sign.
    Threshold(RoleName, usize),
    /// Takes away a role for releases; what its pattern matched falls to the next one that matches.
    RemoveRole(RoleName),
}

/// A change of the trust that was not made.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change names a key that the trust has not.
    #[error("the trust has no key `{0}`")]
    NoSuchKey(KeyName),
    /// The change names a role that the trust has not.
    #[error("the trust has no role `{0}`")]
    NoSuchRole(RoleName),
    /// The change takes away a role that every trust has.
    #[error("the role `{0}` cannot be removed; replace its keys")]
    Permanent(RoleName),
    /// A different key has that name already.
    #[error("the trust already has another key named `{0}`")]
    NameTaken(KeyName),
    /// Nobody could fulfil a role afterwards.
    #[error("the changed trust could not work")]
    Broken(#[source] RoleError),
    /// The old root keys do not agree.
    #[error(transparent)]
    Unauthorised(#[from] Unauthorised),
    /// The new root keys did not sign: whoever holds them could not be the way back.
    #[error("the root keys of the changed trust did not sign it, so nothing shows that they could change it again")]
    NoWayBack(#[source] Unauthorised),
    /// The result would be refused by its readers.
    #[error("the changed trust would be refused")]
    Refused(#[from] Refusal),
    /// Nothing changes.
    #[error("the changes change nothing")]
    Nothing,
}

/// The first version: one root key, and one key for everything that is done every day.
pub fn first(fleet: FleetId, root: &SecretKey, publishing: &SecretKey, now: Timestamp) -> SignedDocument {
    let everyday = Role::of(publishing.name().clone());
    let body = Trust {
        keys: vec![root.public(), publishing.public()],
        root: Role::of(root.name().clone()),
        release: vec![ReleaseRole { remotes: "*".to_owned(), role: everyday.clone() }],
        assignment: everyday.clone(),
        rollout: everyday,
        other: serde_json::Map::new(),
    };
    Document { header: header(fleet, Serial::FIRST, now), body }.sign(&[root])
}

fn header(fleet: FleetId, version: Serial, now: Timestamp) -> Header {
    Header {
        fleet,
        name: chain::NAME.to_owned(),
        serial: version,
        created: now,
        trust: version,
        requires: Vec::new(),
        expires: None,
    }
}

/// Makes the next version of the trust, signed by `keys`, and shows that readers would believe it. Writes nothing.
pub fn next(trusted: &Trusted, changes: &[Change], keys: &[&SecretKey], now: Timestamp) -> Result<Next, TrustError> {
    let mut body = trusted.trust().clone();
    for change in changes {
        apply(&mut body, change)?;
    }
    drop_unused_keys(&mut body);
    if body == *trusted.trust() {
        return Err(TrustError::Nothing);
    }
    body.check().map_err(TrustError::Broken)?;
    super::authorise(trusted.trust(), Power::Root, keys)?;
    super::authorise(&body, Power::Root, keys).map_err(TrustError::NoWayBack)?;
    let version = trusted.version().next().ok_or(TrustError::Nothing)?;
    let document = Document { header: header(trusted.fleet().clone(), version, now), body }.sign(keys);
    let trusted = trusted.followed_by(&document.bytes)?;
    Ok(Next { document, trusted })
}

/// A next version that has not been written yet.
#[derive(Debug)]
pub struct Next {
    document: SignedDocument,
    /// The version as its readers will see it.
    pub trusted: Trusted,
}

impl Next {
    /// Writes the version. Of two operators, one finds the other's there.
    pub async fn write(&self, fleet: &Fleet, writes: ConditionalWrites) -> Result<(), StoreError> {
        let key = layout::trust(self.trusted.version());
        write_document(&*fleet.store, &key, &self.document.bytes, Precondition::Absent, writes).await
    }
}

fn apply(trust: &mut Trust, change: &Change) -> Result<(), TrustError> {
    match change {
        Change::Add(role, key) => {
            list(trust, key)?;
            let name = key.name().clone();
            if let Some(role) = find(trust, role) {
                role.keys.insert(name);
            } else if let RoleName::Release(remotes) = role {
                trust.release.insert(0, ReleaseRole { remotes: remotes.clone(), role: Role::of(name) });
            }
        }
        Change::Replace(old, new) => {
            known(trust, old)?;
            list(trust, new)?;
            for role in roles(trust) {
                if role.keys.remove(old) {
                    role.keys.insert(new.name().clone());
                }
            }
        }
        Change::Revoke(name) => {
            known(trust, name)?;
            for role in roles(trust) {
                role.keys.remove(name);
            }
        }
        Change::RemoveRole(name) => {
            let RoleName::Release(remotes) = name else { return Err(TrustError::Permanent(name.clone())) };
            let before = trust.release.len();
            trust.release.retain(|entry| entry.remotes != *remotes);
            if trust.release.len() == before {
                return Err(TrustError::NoSuchRole(name.clone()));
            }
        }
        Change::Threshold(role, threshold) => {
            find(trust, role).ok_or_else(|| TrustError::NoSuchRole(role.clone()))?.threshold = *threshold;
        }
    }
    Ok(())
}

fn known(trust: &Trust, name: &KeyName) -> Result<(), TrustError> {
    if trust.keys.iter().any(|key| key.name() == name) {
        return Ok(());
    }
    Err(TrustError::NoSuchKey(name.clone()))
}

fn list(trust: &mut Trust, key: &PublicKey) -> Result<(), TrustError> {
    match trust.keys.iter().find(|listed| listed.name() == key.name()) {
        Some(listed) if listed == key => Ok(()),
        Some(_) => Err(TrustError::NameTaken(key.name().clone())),
        None => {
            trust.keys.push(key.clone());
            Ok(())
        }
    }
}

fn roles(trust: &mut Trust) -> impl Iterator<Item = &mut Role> {
    let fixed = [&mut trust.root, &mut trust.assignment, &mut trust.rollout];
    fixed.into_iter().chain(trust.release.iter_mut().map(|entry| &mut entry.role))
}

fn find<'a>(trust: &'a mut Trust, name: &RoleName) -> Option<&'a mut Role> {
    match name {
        RoleName::Root => Some(&mut trust.root),
        RoleName::Assignment => Some(&mut trust.assignment),
        RoleName::Rollout => Some(&mut trust.rollout),
        RoleName::Release(remotes) => {
            trust.release.iter_mut().find(|entry| entry.remotes == *remotes).map(|entry| &mut entry.role)
        }
    }
}

fn drop_unused_keys(trust: &mut Trust) {
    let used: Vec<KeyName> = trust.roles().into_iter().flat_map(|(_, role)| role.keys.clone()).collect();
    trust.keys.retain(|key| used.contains(key.name()));
}
