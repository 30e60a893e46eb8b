//! Whether hosts trust what this store's newest trust says: better known before they are told anything.
//!
//! Hosts walk from their own version to a newer one by themselves, so being behind is no reason for doubt. A host that is ahead, or
//! holds another document of the same version, goes by keys that this store does not show: it was restored from a backup, say, or
//! belongs to somebody else.

use std::collections::BTreeMap;

use npc_core::digest::Digest;
use npc_core::document::{Header, Report};
use npc_core::fleet::{Fleet, Inquiry};
use npc_core::name::{HostName, RemoteName};
use npc_core::store::StoreError;
use npc_core::trust::Trusted;

use super::amend::following;
use super::host::Heard;
use super::view::own_assignment;
use crate::failure::{Exit, Failure};
use crate::session::Session;
use crate::voice;
use crate::words::shortened;

/// How a host goes by other keys than this store shows, if it does.
fn estranged(trusted: &Trusted, header: &Header, report: &Report) -> Option<String> {
    let shown = trusted.version();
    if header.trust > shown {
        return Some(format!("version {} of the trust, and the newest in this store is {shown}", header.trust));
    }
    let other = report.trust_digest.is_some_and(|digest| digest != Digest::of(trusted.bytes()));
    (header.trust == shown && other).then(|| format!("another version {shown} of the trust than the one in this store"))
}

/// Warns of hosts that will refuse what is about to be signed; refuses to sign if that is all of them.
pub fn check<'a>(trusted: &Trusted, hosts: impl Iterator<Item = (&'a HostName, &'a Heard)>) -> Result<(), Failure> {
    let (mut known, mut strange) = (0, Vec::new());
    for (host, heard) in hosts {
        let Heard::Report { header, report, .. } = heard else { continue };
        known += 1;
        strange.extend(estranged(trusted, header, report).map(|how| (host, how)));
    }
    let Some((_, how)) = strange.first() else { return Ok(()) };
    let names: Vec<_> = strange.iter().map(|(host, _)| host.as_str()).collect();
    let words = format!("hosts would refuse this: {} trust {how}", shortened(&names));
    if strange.len() < known {
        voice::warn(words);
        return Ok(());
    }
    Err(Failure::new(Exit::Trust, words).hint(
        "put the newest files of trust/ back, from a copy or from a host's state; `npc-publish hosts forget` removes reports of \
         machines that are gone",
    ))
}

/// Likewise for what hosts say that follow a remote, as far as this operator may read it.
pub async fn check_followers(session: &Session, remote: &RemoteName) -> Result<(), Failure> {
    let heard = match all_heard(&session.fleet).await {
        Ok(heard) => heard,
        Err(error) => {
            tracing::debug!(%error, "reports may not be read: whether hosts trust this is not known");
            return Ok(());
        }
    };
    let follows = |heard: &Heard| {
        let obeyed = heard.report().and_then(|report| report.obeys.as_ref());
        obeyed.is_some_and(|obeyed| obeyed.remote == *remote)
    };
    let followers = heard.iter().filter(|(_, heard)| follows(heard)).map(|(host, heard)| (host, heard));
    check(&session.fleet.trusted, followers)
}

/// What all hosts say, each under the key that its own assignment pins: of what was listed, only what has changed is read.
async fn all_heard(fleet: &Fleet) -> Result<Vec<(HostName, Heard)>, StoreError> {
    let (assignments, reporting) = tokio::try_join!(fleet.all_assignments(), fleet.reporting_hosts())?;
    let key = |assigned| following(Some(assigned))?.report_key.clone();
    let pinned: BTreeMap<_, _> =
        assignments.iter().filter_map(|(name, assigned)| Some((name, key(assigned)?))).collect();
    let inquiries = reporting.iter().map(|(host, listed)| Inquiry {
        host,
        pinned: pinned.get(&own_assignment(host)),
        listed: Some(listed),
    });
    let reported = fleet.reports(inquiries).await?;
    if let Err(error) = fleet.memory.save() {
        tracing::debug!(%error, "cannot remember what was read");
    }
    Ok(reported.into_iter().map(|(host, reported)| (host, Heard::from(reported))).collect())
}
