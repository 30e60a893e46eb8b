//! One effect after the other.

use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use npc_core::explain;

use super::{Driver, fetch};
use crate::activation::unit::is_shutting_down;
use crate::activation::{Platform, USERS};
use crate::health::{self, Watch};
use crate::hooks;
use crate::machine::{Attempt, Baseline, DEADLINE_PASSED, Effect, Ended, Errand, Event, Failed, Found, Mode, Stage};
use crate::state::CommitLock;

/// How long to wait before users are looked for again.
const USERS_PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// How long to wait before rebooting is tried again.
const REBOOT_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// How long a host that was told to reboot may take to stop the agent.
const REBOOT_PATIENCE: Duration = Duration::from_mins(5);

/// How long the old system's checks may take after it was rolled back to.
const AFTER_ROLL_BACK: Duration = Duration::from_mins(1);

/// However little a probation would leave it, a store that is asked once has this much time to answer.
const LEAST_PATIENCE: Duration = Duration::from_secs(5);

/// What came of an effect.
#[derive(Debug)]
pub(super) enum Performed {
    /// It is done; the next one may begin.
    Nothing,
    /// This happened.
    Event(Box<Event>),
    /// The agent ends here.
    Stop,
}

impl From<Event> for Performed {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

impl<P: Platform> Driver<P> {
    pub(super) async fn perform(&mut self, effect: Effect) -> Performed {
        let parts = &self.parts;
        match effect {
            Effect::Fetch(target) => match fetch::fetch(&**parts.poller.store(), &parts.state, &target.archive).await {
                Ok(()) => Event::Unpacked.into(),
                Err(failed) => Event::PreparationFailed(failed).into(),
            },
            Effect::CheckRoom => match parts.platform.check_room() {
                Ok(()) => Performed::Nothing,
                Err(failed) => Event::PreparationFailed(failed).into(),
            },
            Effect::Build(target) => {
                match parts.platform.build(&target, &parts.state.flake(&target.archive.sha256)).await {
                    Ok(built) => Event::Built(built).into(),
                    Err(failed) => Event::PreparationFailed(failed).into(),
                }
            }
            Effect::Survey { system } => match self.survey(&system).await {
                Ok(baseline) => Event::Surveyed(baseline).into(),
                Err(failed) => Event::PreparationFailed(failed).into(),
            },
            Effect::Arm { attempt, stage } => self.arm(&attempt, stage).await,
            Effect::Activate(attempt) => match self.activate(&attempt).await {
                ended @ (Ended::Failed(_) | Ended::NeverBegan(_)) => {
                    self.unless_shutting_down(Event::Activated(ended)).await
                }
                ended => Event::Activated(ended).into(),
            },
            Effect::HandOver => self.hand_over().await,
            Effect::Prove(attempt) => match self.prove(&attempt).await {
                Ok(remarks) => Event::Proved(remarks).into(),
                Err(failed) => self.unless_shutting_down(Event::AttemptFailed(failed)).await,
            },
            Effect::Commit(attempt) => self.commit(&attempt).await,
            Effect::RollBack { attempt, boot, rescued } => self.roll_back(&attempt, boot, rescued).await,
            Effect::Disarm(attempt) => {
                if let Some(dead_man) = parts.platform.dead_man() {
                    dead_man.disarm(&attempt).await;
                }
                Performed::Nothing
            }
            Effect::Errand(errand) => self.run_errand(errand).await,
            Effect::Reboot { insist } => self.reboot(insist).await,
        }
    }

    async fn run_errand(&self, errand: Errand) -> Performed {
        let parts = &self.parts;
        match &errand {
            Errand::Tell(hook) => hooks::run(&parts.hooks, hook, &parts.state).await,
            Errand::TidyUp => self.tidy_up().await,
            Errand::HandOver => {
                if let Performed::Stop = self.hand_over().await {
                    return Performed::Stop;
                }
            }
        }
        Event::ErrandDone(errand).into()
    }

    async fn survey(&self, system: &Path) -> Result<Baseline, Failed> {
        let parts = &self.parts;
        let mut baseline = parts.platform.survey(system).await?;
        if parts.policy.mode_for(&baseline.obstacles) == Ok(Mode::Boot) {
            // A boot ends every timer, so nobody else could set one for it.
            parts.platform.check_agent(system).await?;
        }
        let has_systemd = self.has_systemd();
        let host_file = parts.platform.host_file();
        let (store, observed) = tokio::join!(self.store_answers(), health::baseline(host_file.as_deref(), has_systemd));
        baseline.store_answers = store;
        baseline.starting = has_systemd && health::is_starting().await;
        (baseline.units, baseline.checks) = observed?;
        Ok(baseline)
    }

    /// Holds the journal against the host, anew for as long as a disk takes no note of what comes of that; then only looks.
    pub(super) async fn begin_or_look(&mut self) -> Event {
        if self.has_begun {
            return Event::Looked(self.look_around(None).await);
        }
        let recovered = self.parts.recovered.clone();
        let found = self.look_around(recovered.as_ref().or(self.parts.journal.phase.attempt())).await;
        if self.began_under.is_none() {
            self.began_under.clone_from(&found.running);
        }
        match recovered {
            Some(attempt) => Event::Recovered(Box::new(attempt), found),
            None => Event::Started(found),
        }
    }

    /// How the host is, with what the journal wants to know of the boot.
    async fn look_around(&self, attempt: Option<&Attempt>) -> Found {
        let mut found = self.parts.platform.look(attempt).await;
        if self.has_systemd() && self.parts.journal.knows_too_little_of_boot(&found) {
            found.failed_at_boot = health::failed_at_boot().await;
        }
        found
    }

    /// Whether there are units of systemd's to watch.
    fn has_systemd(&self) -> bool {
        self.parts.platform.dead_man().is_some_and(|dead_man| dead_man.units.has_systemd())
    }

    /// Whether the store answers within the time that a probation would leave it.
    async fn store_answers(&self) -> bool {
        let patience = self.parts.probation.store.max(LEAST_PATIENCE);
        tokio::time::timeout(patience, self.parts.poller.store_answers(&self.parts.replay))
            .await
            .is_ok_and(|answer| answer.is_ok())
    }

    async fn arm(&self, attempt: &Attempt, stage: Stage) -> Performed {
        let Some(dead_man) = self.parts.platform.dead_man() else { return Performed::Nothing };
        let Err(failed) = dead_man.arm(attempt, stage).await else { return Performed::Nothing };
        match stage {
            // Nothing has been changed, and without a way back nothing will be.
            Stage::Activation => Event::Activated(Ended::NeverBegan(failed)).into(),
            // A boot ends every timer, and this system was booted.
            Stage::Probation if attempt.mode == Mode::FirstBoot => {
                self.unless_shutting_down(Event::AttemptFailed(failed)).await
            }
            // The one that was set for the activation is still there.
            Stage::Probation => {
                tracing::warn!(kind = failed.kind, "{failed}");
                Performed::Nothing
            }
        }
    }

    /// Activates a system. One that has to be booted instead, which nobody foresaw, must have an agent that starts there.
    async fn activate(&self, attempt: &Attempt) -> Ended {
        let (platform, reporter) = (&self.parts.platform, &self.parts.reporter);
        if let (None, Some(reporter)) = (&self.parts.journal.committed, reporter) {
            reporter.introduction().await;
        }
        match platform.activate(attempt).await {
            Ended::NeedsReboot(said) => match platform.check_agent(&attempt.system).await {
                Ok(()) => Ended::NeedsReboot(said),
                Err(failed) => Ended::NeverBegan(failed),
            },
            ended => ended,
        }
    }

    /// Ends the agent where another system runs than the one that it began under, and systemd will start that one's agent.
    async fn hand_over(&self) -> Performed {
        let running = self.parts.platform.look(None).await.running;
        if running == self.began_under || !self.parts.supervisor.starts_us_again() {
            return Performed::Nothing;
        }
        tracing::info!("another system runs: its own agent takes over");
        Performed::Stop
    }

    async fn prove(&self, attempt: &Attempt) -> Result<Vec<String>, Failed> {
        let (parts, host_file) = (&self.parts, self.parts.platform.host_file());
        let watch = Watch {
            before: &attempt.before,
            host_file: host_file.as_deref(),
            has_systemd: self.has_systemd(),
            probation: parts.probation,
        };
        watch.prove(async || parts.poller.store_answers(&parts.replay).await).await
    }

    /// Takes the lock that the timer's rescuer takes too, if it is not ours yet: from a commit to going back on it.
    fn has_the_word(&mut self) -> bool {
        if self.commit.is_none() {
            match CommitLock::take(&self.parts.state) {
                Ok(lock) => self.commit = Some(lock),
                Err(error) => tracing::error!(kind = DEADLINE_PASSED, "{}", explain::in_one_line(&error)),
            }
        }
        self.commit.is_some()
    }

    /// Commits, unless the journal or the host is not what it was when that was decided.
    async fn commit(&mut self, attempt: &Attempt) -> Performed {
        if !self.has_the_word() {
            return Performed::Stop;
        }
        match self.parts.state.read_journal() {
            Ok(journal) if journal.phase == self.parts.journal.phase => {}
            // A disk that took no more when this phase began still has the one before; the timer would have changed it.
            Ok(journal) if self.unwritten.is_some() && journal.phase.attempt() == Some(attempt) => {}
            read => {
                let error = read.err().map(|error| explain::in_one_line(&error)).unwrap_or_default();
                tracing::error!(kind = DEADLINE_PASSED, error, "the journal was changed by another: not committing");
                return Performed::Stop;
            }
        }
        let found = self.parts.platform.look(Some(attempt)).await;
        if !attempt.may_commit(&found) {
            return Event::Overtaken(found).into();
        }
        if let Some(dead_man) = self.parts.platform.dead_man().filter(|_| attempt.mode == Mode::Boot) {
            // Its timer is set once the system was booted, and then the settings are that system's.
            if let Err(failed) = dead_man.keep_settings(attempt) {
                return Event::AttemptFailed(failed).into();
            }
        }
        match self.parts.platform.commit(attempt).await {
            Ok(()) => Event::Committed(self.parts.platform.look(None).await).into(),
            Err(failed) => self.unless_shutting_down(Event::AttemptFailed(failed)).await,
        }
    }

    /// A shutdown ends units and lets no others begin, so what fails in one speaks against no system: the agent ends, and goes on
    /// from the journal after the next boot.
    async fn unless_shutting_down(&self, failure: Event) -> Performed {
        if self.has_systemd() && is_shutting_down().await {
            tracing::info!("the host shuts down in the middle of an attempt");
            return Performed::Stop;
        }
        failure.into()
    }

    /// Goes back, without the timer doing so at the same time.
    async fn roll_back(&mut self, attempt: &Attempt, boot: bool, rescued: bool) -> Performed {
        if !self.has_the_word() {
            return Performed::Stop;
        }
        let platform = &self.parts.platform;
        let found = platform.look(Some(attempt)).await;
        if !attempt.owns_running(&found) {
            return Event::Overtaken(found).into();
        }
        let boot = attempt.takes_back_boot_default(boot, &found);
        let mut unwell = None;
        // After a power cut the system before has just been booted: nothing has to be activated again.
        let was_booted = !boot && found.boot_id != attempt.before.boot_id;
        if !((rescued || was_booted) && found.running == attempt.before.running) {
            match platform.roll_back(attempt, boot).await {
                Ok(failed) => unwell = failed,
                Err(failed) => {
                    let failed = Event::RollBackFailed { failed, boot_id: found.boot_id };
                    return self.unless_shutting_down(failed).await;
                }
            }
        }
        let store_answers = self.store_answers().await;
        if unwell.is_none() {
            unwell = self.still_unwell(attempt).await;
        }
        Event::RolledBack { store_answers, unwell }.into()
    }

    /// Looks at the old system with the same eyes; only the store has been asked already.
    async fn still_unwell(&self, attempt: &Attempt) -> Option<Failed> {
        let host_file = self.parts.platform.host_file();
        let before = Baseline { store_answers: false, ..attempt.before.clone() };
        let mut probation = self.parts.probation;
        probation.settle = probation.settle.min(AFTER_ROLL_BACK / 2);
        probation.limit = probation.limit.min(AFTER_ROLL_BACK);
        let has_systemd = self.has_systemd();
        let watch = Watch { before: &before, host_file: host_file.as_deref(), has_systemd, probation };
        watch.prove(async || Ok(())).await.err()
    }

    /// What was tried lately can be gone back to by hand; the rest can be fetched and built again.
    async fn tidy_up(&self) {
        let journal = &self.parts.journal;
        if journal.phase.attempt().is_none() {
            self.parts.state.forget_attempts();
        }
        let attempts =
            journal.phase.attempt().into_iter().chain(journal.unproven.as_ref().map(|unproven| &unproven.attempt));
        let mut flakes: Vec<_> = journal.committed.iter().map(|committed| committed.target.archive.sha256).collect();
        let mut roots: Vec<_> = journal.committed.iter().map(|committed| committed.system.clone()).collect();
        let mut names = Vec::new();
        for attempt in attempts {
            flakes.push(attempt.target.archive.sha256);
            roots.extend([Some(attempt.system.clone()), attempt.before.running.clone()].into_iter().flatten());
            // One of them is the object in the Nix store that the agent is in.
            roots.extend(attempt.before.agent.iter().flat_map(|agent| agent.ancestors()).map(Path::to_owned));
            names.push(attempt.name());
        }
        flakes.extend(journal.phase.target().map(|target| target.archive.sha256));
        let (state, keep) = (self.parts.state.clone(), self.parts.keep);
        // Very many files may take longer than systemd waits for a sign of life.
        let tidied = tokio::task::spawn_blocking(move || {
            state.tidy_up(&flakes.into_iter().collect(), &roots.into_iter().collect(), &names, keep);
        });
        if let Err(error) = tidied.await {
            tracing::error!(%error, "tidying up broke off");
        }
    }

    async fn reboot(&mut self, insist: bool) -> Performed {
        let put_off = |pause, failed| {
            let until = self.parts.clock.now().saturating_add(pause).unwrap_or(npc_core::Timestamp::MAX);
            Event::RebootPutOff { until, failed }.into()
        };
        match self.parts.platform.reboot(insist).await {
            Ok(()) => {
                self.parts.supervisor.status("the host reboots".to_owned());
                tokio::time::sleep(REBOOT_PATIENCE).await;
                put_off(REBOOT_PAUSE, Some(Failed::new("reboot-failed", "the host was told to reboot and did not")))
            }
            Err(failed) if failed.kind == USERS => {
                tracing::info!(kind = failed.kind, "the reboot waits: {failed}");
                put_off(USERS_PAUSE, None)
            }
            Err(failed) => put_off(REBOOT_PAUSE, Some(failed)),
        }
    }
}
