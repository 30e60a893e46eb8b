//! Adding to a fleet: releases ([`publish()`]), assignments ([`assign`]), rollouts ([`rollout`]) and versions of the
//! trust ([`trust`]).
//!
//! Publishing writes the archive, creates `releases/<remote>/<serial>.json`, which claims the serial, and then moves
//! `remotes/<remote>.json`: a reader never sees a pointer to something missing, and a crash in between leaves an orphan that
//! everybody skips.

pub mod assign;
pub mod replace;
pub mod rollout;
pub mod trust;

use std::collections::BTreeSet;
use std::path::Path;

use thiserror::Error;

use crate::Timestamp;
use crate::document::{Document, Header, Power, Release, RemoteState, Serial, SignedDocument, Trust};
use crate::fleet::{Fleet, Pointer};
use crate::key::{KeyName, SecretKey};
use crate::layout;
use crate::name::RemoteName;
use crate::store::{ConditionalWrites, Content, Fault, Precondition, StoreError, write_document};
use crate::trust::Verified;

/// How many unbelievable entries at the top of a history are looked through for a believable one.
const UNBELIEVABLE_ENTRIES: usize = 64;

/// What to publish.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The remote to publish to.
    pub remote: &'a RemoteName,
    /// What it is to hold.
    pub release: Release,
    /// The file with the release's archive.
    pub file: &'a Path,
    /// When the release stops being a reason to change anything.
    pub expires: Option<Timestamp>,
    /// Whether a release that changes nothing is published all the same.
    pub record: Record,
    /// What it may replace.
    pub over: Over,
}

/// What a publication may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Whatever is there.
    Anything,
    /// What has this serial; nothing, where that is none.
    Serial(Option<Serial>),
}

/// What to do with a release that has the content of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Leave it be.
    Changes,
    /// Give it a serial all the same.
    Everything,
}

/// How publishing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The remote holds this already, since that serial.
    Unchanged(Serial),
    /// The remote now holds it under this serial, and held the other before.
    Released {
        /// The new serial.
        serial: Serial,
        /// The serial before, if the remote held a believable release.
        previous: Option<Serial>,
    },
}

/// A publication that did not take place. The remote holds what it held.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys at hand cannot sign this.
    #[error(transparent)]
    Unauthorised(#[from] Unauthorised),
    /// Someone else published at the same time.
    #[error("another publisher wrote to `{remote}` at the same time")]
    Raced {
        /// The remote.
        remote: RemoteName,
        /// What was found.
        source: StoreError,
    },
    /// The remote holds something else than what was to be replaced.
    #[error("`{remote}` holds {}, and not {}", serial_words(*found), serial_words(*expected))]
    Moved {
        /// The remote.
        remote: RemoteName,
        /// What was to be replaced.
        expected: Option<Serial>,
        /// What is there.
        found: Option<Serial>,
    },
    /// The last serial is taken.
    #[error("remote `{0}` has used up its serials")]
    NoSerialLeft(RemoteName),
}

fn serial_words(serial: Option<Serial>) -> String {
    serial.map_or("nothing".to_owned(), |serial| format!("serial {serial}"))
}

/// Keys that may not sign what they were given to sign.
#[derive(Debug, Error)]
#[error("{}", self.describe())]
pub struct Unauthorised {
    power: String,
    given: Vec<KeyName>,
    needed: Option<(usize, Vec<KeyName>)>,
}

impl Unauthorised {
    fn describe(&self) -> String {
        let names = |names: &[KeyName]| names.iter().map(KeyName::as_str).collect::<Vec<_>>().join(", ");
        let given = if self.given.is_empty() { "no key".to_owned() } else { names(&self.given) };
        match &self.needed {
            None => format!("the trust gives no key the power to {}", self.power),
            Some((threshold, keys)) => {
                format!("to {} takes {threshold} of {}, not {given}", self.power, names(keys))
            }
        }
    }
}

/// Whether `keys` are enough for `power`: readers would refuse what they sign otherwise.
pub fn authorise(trust: &Trust, power: Power<'_>, keys: &[&SecretKey]) -> Result<(), Unauthorised> {
    let refuse = |needed| Unauthorised {
        power: power.to_string(),
        given: keys.iter().map(|key| key.name().clone()).collect(),
        needed,
    };
    let role = trust.role(power).ok_or_else(|| refuse(None))?;
    let able: BTreeSet<_> = trust.keys_of(role).map(crate::key::PublicKey::bytes).collect();
    let given: BTreeSet<_> = keys.iter().map(|key| *key.public().bytes()).collect();
    if given.iter().filter(|key| able.contains(key)).count() < role.threshold {
        return Err(refuse(Some((role.threshold, role.keys.iter().cloned().collect()))));
    }
    Ok(())
}

/// Publishes to a remote.
pub async fn publish(
    fleet: &Fleet,
    publication: Publication<'_>,
    keys: &[&SecretKey],
    writes: ConditionalWrites,
    now: Timestamp,
) -> Result<Published, PublishError> {
    let remote = publication.remote;
    authorise(fleet.trusted.trust(), Power::Release(remote), keys)?;
    let pointer = fleet.remote(remote).await?;
    let current = pointer.as_ref().and_then(|pointer| pointer.state.as_ref().ok());
    let Publication { release, file, expires, record, over, .. } = publication;
    let archive = release.archive;
    if let Some(current) = current.filter(|current| changes_nothing(current, &release, record, expires, now)) {
        return Ok(Published::Unchanged(current.header().serial));
    }
    let previous = current.map(|current| current.header().serial);
    may_replace(remote, over, previous)?;
    fleet.store.write(&layout::archive(&archive.sha256), Content::File(file), Precondition::None).await?;
    let state = RemoteState::Present(Box::new(release));
    let serial = Entry { remote, state, expires, pointer }.add(fleet, keys, writes, now).await?;
    Ok(Published::Released { serial, previous })
}

/// Ends a remote: hosts that follow it stay where they are. Gives the serial of its end; none, where it had ended already or has
/// never begun.
pub async fn remove(
    fleet: &Fleet,
    remote: &RemoteName,
    over: Over,
    keys: &[&SecretKey],
    writes: ConditionalWrites,
    now: Timestamp,
) -> Result<Option<Serial>, PublishError> {
    authorise(fleet.trusted.trust(), Power::Release(remote), keys)?;
    let Some(pointer) = fleet.remote(remote).await? else { return Ok(None) };
    let current = pointer.state.as_ref().ok();
    if current.is_some_and(|current| *current.body() == RemoteState::Removed) {
        return Ok(None);
    }
    may_replace(remote, over, current.map(|current| current.header().serial))?;
    let entry = Entry { remote, state: RemoteState::Removed, expires: None, pointer: Some(pointer) };
    entry.add(fleet, keys, writes, now).await.map(Some)
}

fn may_replace(remote: &RemoteName, over: Over, found: Option<Serial>) -> Result<(), PublishError> {
    match over {
        Over::Serial(expected) if expected != found => {
            Err(PublishError::Moved { remote: remote.clone(), expected, found })
        }
        _ => Ok(()),
    }
}

/// The next entry of a remote's history.
struct Entry<'a> {
    remote: &'a RemoteName,
    state: RemoteState,
    expires: Option<Timestamp>,
    /// What is there.
    pointer: Option<Pointer>,
}

impl Entry<'_> {
    /// Signs it, adds it, and points to it.
    async fn add(
        self,
        fleet: &Fleet,
        keys: &[&SecretKey],
        writes: ConditionalWrites,
        now: Timestamp,
    ) -> Result<Serial, PublishError> {
        let current = self.pointer.as_ref().and_then(|pointer| pointer.state.as_ref().ok());
        let serial = next_serial(fleet, self.remote, current.map(|current| current.header().serial)).await?;
        let header = Header {
            fleet: fleet.trusted.fleet().clone(),
            name: self.remote.to_string(),
            serial,
            created: now,
            trust: fleet.trusted.version(),
            requires: Vec::new(),
            expires: self.expires,
        };
        let document = Document { header, body: self.state }.sign(keys);
        let over = match self.pointer {
            None => Precondition::Absent,
            Some(pointer) => Precondition::over(pointer.etag),
        };
        claim_and_point(fleet, self.remote, serial, &document, over, writes).await?;
        Ok(serial)
    }
}

/// Whether publishing `release` over `current` would change nothing, and so does not take place.
///
/// A release that expires, or has expired, is news in itself.
pub fn changes_nothing(
    current: &Verified<RemoteState>,
    release: &Release,
    record: Record,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    record == Record::Changes
        && holds(current.body(), release)
        && expires.is_none()
        && current.header().expires.is_none_or(|expires| expires > now)
}

/// Whether hosts that follow `state` would find nothing new in `release`, neither to do nor to know.
pub fn holds(state: &RemoteState, release: &Release) -> bool {
    matches!(state, RemoteState::Present(current)
        if current.same_content(release) && current.knows(&release.configurations))
}

async fn claim_and_point(
    fleet: &Fleet,
    remote: &RemoteName,
    serial: Serial,
    document: &SignedDocument,
    over: Precondition,
    writes: ConditionalWrites,
) -> Result<(), PublishError> {
    let raced = |error: StoreError| match error.fault {
        Fault::Conflict => PublishError::Raced { remote: remote.clone(), source: error },
        _ => error.into(),
    };
    let claim = layout::release(remote, serial);
    write_document(&*fleet.store, &claim, &document.bytes, Precondition::Absent, writes).await.map_err(raced)?;
    let pointer = layout::remote(remote);
    write_document(&*fleet.store, &pointer, &document.bytes, over, writes).await.map_err(raced)
}

/// One above every believable pointer, release and tombstone, and not yet taken.
///
/// Entries that nobody would believe (a stolen key's, after it was revoked) do not raise serials, or one forged entry would
/// use them up; they are stepped over where they are in the way.
async fn next_serial(fleet: &Fleet, remote: &RemoteName, pointed: Option<Serial>) -> Result<Serial, PublishError> {
    let used_up = || PublishError::NoSerialLeft(remote.clone());
    let taken = fleet.serials(remote).await?;
    let mut highest = pointed;
    for serial in taken.iter().take(UNBELIEVABLE_ENTRIES) {
        if Some(*serial) <= pointed {
            break;
        }
        if fleet.release(remote, *serial).await?.is_some_and(|entry| entry.state.is_ok()) {
            highest = Some(*serial);
            break;
        }
    }
    let taken: BTreeSet<_> = taken.into_iter().collect();
    let mut next = match highest {
        Some(highest) => highest.next().ok_or_else(used_up)?,
        None => Serial::FIRST,
    };
    while taken.contains(&next) {
        next = next.next().ok_or_else(used_up)?;
    }
    Ok(next)
}
