//! Driving a rollout: looking, deciding, doing, until it is done or has stopped.
//!
//! One driver at a time says so in the intent, for a minute each time. Whoever finds that somebody else has said so ends; the
//! assignments alone say what was done, so the one after goes on from there.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::document::{Driver, OnFailure, Rollout, RolloutState};
use npc_core::name::{AssignmentName, HostName, RolloutName};
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::{Standing, View};
use tokio::time::Instant;

use super::course::Course;
use super::intent::{Operator, driven_by_another};
use super::next::{Down, Next};
use super::reboots::Batch;
use super::show::Display;
use super::sight::look;
use super::tell::Sweep;
use crate::{console, interrupt};

/// For how long a driver says that it is the one.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// How much of that may be left when it says so again.
const RENEWED_WITH: SignedDuration = SignedDuration::from_secs(30);

/// How rarely and how often to look, in seconds.
const LOOKS: std::ops::RangeInclusive<u64> = 1..=10;

/// How many hosts are told before looking again whether any more are to be.
const TOLD_AT_ONCE: usize = 16;

/// How often to look for hosts that have fallen silent by themselves.
const LOOKED_FOR_DOWN: Duration = Duration::from_mins(1);

/// How driving ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every wave is done.
    Complete,
    /// Its release has become its hosts' own remote's, as somebody who watches sees it.
    Finished,
    /// Too many hosts have failed.
    Failed,
    /// All were pointed back, as an operator wanted.
    Reverted,
    /// An operator has stopped it.
    Stopped(RolloutState),
}

/// Who drives from now on.
pub(crate) fn myself() -> Result<Driver, Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| Failure::other(format!("no randomness to be had: {error}")))?;
    let user = std::env::var("USER").unwrap_or_else(|_| "someone".to_owned());
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = format!("{:032x}", u128::from_be_bytes(id));
    Ok(Driver { name: format!("{user}@{machine}"), id, until: lease(Timestamp::now()) })
}

fn lease(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE).unwrap_or(Timestamp::MAX)
}

/// That another operator drives the rollout.
pub(crate) fn busy(id: &RolloutName, driver: &Driver) -> Failure {
    let until = driver.until.strftime("%H:%M:%S UTC");
    Failure::new(Exit::Raced, format!("{} drives rollout `{id}`, for certain until {until}", driver.name))
        .hint("`npc-publish rollout watch` shows how far it has got; `rollout resume --force` takes over")
}

/// Drives a rollout whose intent says already that `me` does.
pub(crate) async fn drive(operator: &Operator<'_>, id: &RolloutName, me: Driver) -> Result<Ended, Failure> {
    let mut driving = Driving {
        operator,
        id,
        me,
        display: Display::begin(),
        batch: None,
        ordered: BTreeMap::new(),
        down: None,
        held_up: None,
    };
    let ended = tokio::select! {
        ended = driving.run() => ended,
        Err(interrupted) = interrupt::told_to_end() => Err(interrupted),
    };
    driving.display.end();
    if ended.is_err() {
        let gone = driving.retire().await;
        if let Err(failure) = gone {
            tracing::debug!(error = failure.words(), "cannot say that nobody drives the rollout any more");
        }
        console::say(format_args!("rollout `{id}` stays as it is: `npc-publish rollout resume {id}` goes on with it"));
    }
    ended
}

/// What to do after a step.
enum Flow {
    AtOnce,
    After(Duration),
    End(Ended),
}

struct Driving<'a> {
    operator: &'a Operator<'a>,
    id: &'a RolloutName,
    me: Driver,
    display: Display,
    /// The hosts to reboot next, and since when nothing else is in the way.
    batch: Option<(Batch, Instant)>,
    /// Hosts that were told to reboot for a release, and the boot that was to end.
    ordered: BTreeMap<(Digest, HostName), String>,
    /// Hosts that are down by themselves, and when that was looked at.
    down: Option<(Down, Instant)>,
    /// Since when they have kept others from being told.
    held_up: Option<Instant>,
}

impl Driving<'_> {
    async fn run(&mut self) -> Result<Ended, Failure> {
        loop {
            match self.step().await {
                Ok(Flow::AtOnce) => {}
                Ok(Flow::After(pause)) => tokio::time::sleep(pause).await,
                Ok(Flow::End(ended)) => return Ok(ended),
                Err(failure) if failure.may_pass() => {
                    self.display.tell(&format!("trying again: {}", failure.words()))?;
                    tokio::time::sleep(Duration::from_secs(*LOOKS.end())).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn step(&mut self) -> Result<Flow, Failure> {
        let course = self.renewed().await?;
        match &course.intent.state {
            RolloutState::Running => self.go_on(&course).await,
            RolloutState::Reverting => {
                self.operator.sweep(&course, Sweep::Back, &mut teller(&mut self.display)).await?;
                self.say(|rollout| Rollout { state: RolloutState::Reverted, driver: None, ..rollout }).await?;
                let failed = course.intent.reason.is_some();
                Ok(Flow::End(if failed { Ended::Failed } else { Ended::Reverted }))
            }
            state => Ok(Flow::End(Ended::Stopped(state.clone()))),
        }
    }

    async fn go_on(&mut self, course: &Course) -> Result<Flow, Failure> {
        let sight = look(&self.operator.session.fleet, course).await?;
        if sight.values().any(|seen| seen.told.following().is_some_and(|said| course.has_been_ahead(said))) {
            let words = format!("the store shows an older intent of rollout `{}` than its hosts were told by", self.id);
            return Err(
                Failure::new(Exit::Trust, words).hint("look at it with `npc-publish rollout status`, or end it")
            );
        }
        let now = Timestamp::now();
        let progress = course.progress(&sight, now);
        self.display.show(course, &progress, course.left(&progress, &sight))?;
        let next = course.next(&progress, &self.down(course).await?);
        if !matches!(next, Next::Reboot(_)) {
            self.batch = None;
        }
        if !matches!(next, Next::WaitForDown(_)) {
            self.held_up = None;
        }
        match next {
            Next::Tell(wave, names) => {
                let told = self.tell(wave, &names).await?;
                // Somebody was faster, or the store's listing is behind: there is nothing to hurry for.
                Ok(if told == 0 { Flow::After(pause(course)) } else { Flow::AtOnce })
            }
            Next::Reboot(batch) => self.reboot(course, batch).await,
            Next::Wait => Ok(Flow::After(pause(course))),
            Next::WaitForDown(reason) => self.wait_for_down(course, &reason).await,
            Next::Fail(reason) => self.fail(&reason, course.intent.gates.on_failure).await,
            Next::Complete => {
                self.retire().await?;
                Ok(Flow::End(Ended::Complete))
            }
        }
    }

    /// Some at a time, and each time only if that is still what is to be done: another operator's word counts at once. Says how many
    /// were told.
    async fn tell(&mut self, wave: u32, names: &[AssignmentName]) -> Result<usize, Failure> {
        let mut told = 0;
        for some in names.chunks(TOLD_AT_ONCE) {
            let course = self.renewed().await?;
            if course.intent.state != RolloutState::Running {
                break;
            }
            told += self.operator.tell(&course, wave, some, &mut teller(&mut self.display)).await?;
        }
        Ok(told)
    }

    /// Once the hosts before have been back for as long as these want.
    async fn reboot(&mut self, course: &Course, batch: Batch) -> Result<Flow, Failure> {
        let since = match self.batch.take() {
            Some((same, since)) if same == batch => since,
            _ => Instant::now(),
        };
        let left = Duration::from_secs(batch.delay).saturating_sub(since.elapsed());
        if left.is_zero() {
            let release = course.intent.release.digest;
            // One that still runs the same boot may have been told in vain: the store may have lost it.
            let has_rebooted = |(host, boot): &&(HostName, String)| {
                self.ordered.get(&(release, host.clone())).is_some_and(|ended| ended != boot)
            };
            if let Some((host, _)) = batch.hosts.iter().find(has_rebooted) {
                let reason = format!("{host}: needs a reboot even after one");
                return self.fail(&reason, course.intent.gates.on_failure).await;
            }
            self.operator.reboot(course, &batch, &mut teller(&mut self.display)).await?;
            self.ordered.extend(batch.hosts.into_iter().map(|(host, boot)| ((release, host), boot)));
            return Ok(Flow::After(pause(course)));
        }
        self.batch = Some((batch, since));
        Ok(Flow::After(left.min(pause(course))))
    }

    /// Hosts that have fallen silent by themselves, inside of the rollout or not: looked at now and then, and only where a
    /// limit makes them matter.
    async fn down(&mut self, course: &Course) -> Result<Down, Failure> {
        if course.limits().is_empty() {
            return Ok(Down::new());
        }
        if let Some((down, _)) = self.down.as_ref().filter(|(_, looked)| looked.elapsed() < LOOKED_FOR_DOWN) {
            return Ok(down.clone());
        }
        let view = View::read(&self.operator.session.fleet, Timestamp::now()).await?;
        let silent = view.hosts.values().filter(|host| matches!(host.standing, Standing::Silent(_)));
        let down: Down = silent.map(|host| (host.name.clone(), host.metadata.groups.clone())).collect();
        self.down = Some((down.clone(), Instant::now()));
        Ok(down)
    }

    /// Nothing of the rollout's has failed: whoever was told stays, and after its time the rollout stops.
    async fn wait_for_down(&mut self, course: &Course, reason: &str) -> Result<Flow, Failure> {
        if self.held_up.is_none() {
            self.display.tell(reason)?;
        }
        let since = *self.held_up.get_or_insert_with(Instant::now);
        if since.elapsed() < Duration::from_secs(course.intent.gates.timeout) {
            return Ok(Flow::After(pause(course)));
        }
        self.fail(reason, OnFailure::Halt).await
    }

    async fn fail(&mut self, reason: &str, on_failure: OnFailure) -> Result<Flow, Failure> {
        self.display.tell(&format!("the rollout has failed: {reason}"))?;
        self.say(|rollout| {
            let (state, driver) = match on_failure {
                OnFailure::Halt => (RolloutState::Halted, None),
                OnFailure::Revert => (RolloutState::Reverting, rollout.driver),
            };
            Rollout { state, driver, reason: Some(reason.to_owned()), ..rollout }
        })
        .await?;
        Ok(match on_failure {
            OnFailure::Halt => Flow::End(Ended::Failed),
            OnFailure::Revert => Flow::AtOnce,
        })
    }

    /// The rollout as it stands, with a word in it that this is who drives it.
    async fn renewed(&self) -> Result<Course, Failure> {
        let now = Timestamp::now();
        let renew = |rollout: &Rollout| {
            if !matches!(rollout.state, RolloutState::Running | RolloutState::Reverting) {
                return Ok(None);
            }
            self.is_mine(rollout)?;
            let until = rollout.driver.as_ref().map(|driver| driver.until);
            if until.is_some_and(|until| until.duration_since(now) > RENEWED_WITH) {
                return Ok(None);
            }
            let driver = Some(Driver { until: lease(now), ..self.me.clone() });
            Ok(Some(Rollout { driver, ..rollout.clone() }))
        };
        self.operator.change(self.id, renew).await
    }

    /// That nobody else has taken over: also not one who is gone again.
    fn is_mine(&self, rollout: &Rollout) -> Result<(), Failure> {
        match &rollout.driver {
            Some(driver) if driver.id == self.me.id => Ok(()),
            Some(other) => Err(busy(self.id, other).lasting()),
            None => {
                Err(Failure::new(Exit::Raced, format!("another operator has taken rollout `{}` over", self.id))
                    .lasting())
            }
        }
    }

    /// Changes the intent, as long as it is this driver's.
    async fn say(&self, change: impl Fn(Rollout) -> Rollout) -> Result<(), Failure> {
        let decide = |rollout: &Rollout| {
            self.is_mine(rollout)?;
            Ok(Some(change(rollout.clone())))
        };
        self.operator.change(self.id, decide).await.map(drop)
    }

    /// Says that nobody drives it any more.
    async fn retire(&self) -> Result<(), Failure> {
        let decide = |rollout: &Rollout| {
            let is_mine = rollout.driver.as_ref().is_some_and(|driver| driver.id == self.me.id);
            Ok(is_mine.then(|| Rollout { driver: None, ..rollout.clone() }))
        };
        self.operator.change(self.id, decide).await.map(drop)
    }
}

fn teller(display: &mut Display) -> impl FnMut(String) + '_ {
    |words| {
        if let Err(failure) = display.tell(&words) {
            tracing::debug!(error = failure.words(), "nobody reads any more");
        }
    }
}

/// How long to wait for hosts before looking again: a fraction of what they are to be well for.
fn pause(course: &Course) -> Duration {
    Duration::from_secs((course.intent.gates.soak / 8).clamp(*LOOKS.start(), *LOOKS.end()))
}

/// Takes a rollout for `me`, unless somebody else is at it.
pub(crate) fn taken(id: &RolloutName, rollout: Rollout, me: &Driver, force: bool) -> Result<Rollout, Failure> {
    let now = Timestamp::now();
    match driven_by_another(&rollout, &me.id, now) {
        Some(driver) if !force => Err(busy(id, driver).lasting()),
        _ => Ok(Rollout { driver: Some(Driver { until: lease(now), ..me.clone() }), ..rollout }),
    }
}
