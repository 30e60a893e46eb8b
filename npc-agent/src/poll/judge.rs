//! Judging what a place holds: whether it is to be believed, and has what this host is to run.

use npc_core::document::{Pin, RemoteState, Standing};
use npc_core::trust::{Floors, Refusal, Subject, Trusted, Verified, verify, walk};

use super::bench::Bench;
use super::{Names, PollError, Poller};
use crate::machine::Target;
use crate::state::Place;

impl Poller {
    pub(super) async fn judge_release(
        &self,
        place: &Place,
        bytes: &[u8],
        bench: &mut Bench<'_>,
    ) -> Result<Target, PollError> {
        let trusted = self.walk(place, bench).await?;
        let subject = Subject::Remote(&place.remote);
        let judged = verify::<RemoteState>(bytes, subject, &trusted, &bench.replay.floors, bench.clock.now());
        match (judged, place.pin) {
            (Ok(verified), pin) => {
                pin.map_or(Ok(()), |pin| agrees(pin, &verified)).map_err(|refusal| refused(place, refusal))?;
                bench.raise(&verified)?;
                self.target(place, &verified)
            }
            // Whoever may assign said which release it shall be: then it may be older than others that were seen.
            (Err(Refusal::Rollback { .. }), Some(pin)) => {
                let verified = verify(bytes, subject, &trusted, &Floors::default(), bench.clock.now())
                    .and_then(|verified| agrees(pin, &verified).map(|()| verified))
                    .map_err(|refusal| refused(place, refusal))?;
                self.target(place, &verified)
            }
            (Err(refusal), _) => Err(refused(place, refusal)),
        }
    }

    /// Walks to the newest trust before anything is judged by it, and remembers it before it is relied on.
    pub(super) async fn walk(&self, place: &Place, bench: &mut Bench<'_>) -> Result<Trusted, PollError> {
        let known = bench.replay.trusted.as_ref().map(Trusted::version);
        let trusted = match bench.replay.trusted.clone() {
            Some(trusted) => trusted,
            None => walk::first(&*self.store, &self.anchor).await?,
        };
        let trusted = walk::newest(&*self.store, trusted).await?;
        if trusted.version() < self.anchor.version {
            let (named, newest) = (self.anchor.version, trusted.version());
            return Err(refused(place, Refusal::UnknownTrust { named, newest }));
        }
        if known != Some(trusted.version()) {
            tracing::info!(version = trusted.version().get(), "the trust is new");
            bench.remember(|replay| replay.trusted = Some(trusted.clone()))?;
        }
        Ok(trusted)
    }

    fn target(&self, place: &Place, verified: &Verified<RemoteState>) -> Result<Target, PollError> {
        let Place { remote, configuration, .. } = place.clone();
        let header = verified.header();
        let Standing::Present(release) = verified.body() else { return Err(PollError::Removed(remote.to_string())) };
        let system = release.configurations.get(&configuration);
        if self.names == Names::Configuration && system.is_none() && !release.configurations.is_empty() {
            let (remote, configuration) = (remote.to_string(), configuration.to_string());
            return Err(PollError::NoSuchConfiguration { remote, configuration });
        }
        Ok(Target {
            remote,
            serial: header.serial,
            digest: verified.digest(),
            archive: release.archive,
            configuration,
            drv_path: system.map(|system| system.drv_path.clone()),
            out_path: system.and_then(|system| system.out_path.clone()),
            rev: release.source.rev.clone(),
            expires: header.expires,
            attempt: release.attempt,
        })
    }
}

/// The release of a place is not to be believed.
pub(super) fn refused(place: &Place, source: Refusal) -> PollError {
    PollError::Refused { document: format!("the release of `{}`", place.remote), source }
}

/// Whether the release is the one that the assignment names.
fn agrees(pin: Pin, verified: &Verified<RemoteState>) -> Result<(), Refusal> {
    let different = |what, found: String, expected: String| Err(Refusal::WrongSubject { what, found, expected });
    let serial = verified.header().serial;
    match verified.body() {
        _ if serial != pin.serial => different("serial", serial.to_string(), pin.serial.to_string()),
        Standing::Present(release) if release.archive.sha256 != pin.archive => {
            different("archive", release.archive.sha256.to_string(), pin.archive.to_string())
        }
        _ => Ok(()),
    }
}
