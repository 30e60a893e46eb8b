//! Rollouts over hosts that are not there: whatever hosts do and however often drivers die, the rules hold.

mod shared;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::document::{
    Archive, Before, Believed, CriticalityLevel, Document, Extent, Following, Gates, Header, Member, Metadata, Obeyed,
    OnFailure, Orders, Outcome, OutcomeKind, Placement, Quarantined, Reboot, Release, RemoteState, Report, Rollout,
    RolloutState, Running, Serial, Source, Standing, System,
};
use npc_core::fleet::KeyStanding;
use npc_core::key::SecretKey;
use npc_core::name::{AssignmentName, FleetId, HostName};
use npc_core::publish::trust::first;
use npc_core::trust::{Anchor, Floors, Subject, Trusted, Verified, verify};
use npc_operator::fleet::host::{Heard, Told};
use proptest::prelude::*;
use serde_json::Map;

use super::course::Course;
use super::next::{Down, Next};
use super::plan::{Candidate, plan};
use super::progress::{MemberProgress, Progress, Reached, Seen, Sight};

const SOAK: u64 = 5;
const TIMEOUT: u64 = 60;

fn at(second: u32) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    start + SignedDuration::from_secs(second.into())
}

fn header(name: &str, serial: Serial, created: Timestamp) -> Header {
    let fleet = FleetId::from_random([7; 16]);
    Header { fleet, name: name.into(), serial, created, trust: Serial::FIRST, requires: Vec::new(), expires: None }
}

/// A release of `next` that has this on record.
fn release(configurations: &BTreeMap<HostName, Metadata>) -> Verified<RemoteState> {
    let key = |name: &str| SecretKey::generate(name.parse().expect("a key name")).expect("randomness");
    let (root, publishing) = (key("npc-root-1"), key("npc-publish-1"));
    let fleet = FleetId::from_random([7; 16]);
    let trust = first(fleet.clone(), &root, &publishing, at(0)).bytes;
    let anchor = Anchor { fleet, root_keys: vec![root.public()], root_threshold: 1, version: Serial::FIRST };
    let trusted = Trusted::anchored(&anchor, &trust).expect("the first trust");
    let system = |name: &HostName, metadata: &Metadata| System {
        system: "x86_64-linux".into(),
        drv_path: format!("/nix/store/{name}.drv"),
        out_path: None,
        proof: None,
        host: Some(metadata.clone()),
    };
    let systems = configurations
        .iter()
        .map(|(name, metadata)| (name.as_str().parse().expect("a name"), system(name, metadata)))
        .collect();
    let archive = Archive { sha256: Digest::of(b"archive"), size: 7 };
    let body: RemoteState = Standing::Present(Box::new(Release::new(archive, Source::default(), systems)));
    let signed = Document { header: header("next", Serial::FIRST, at(0)), body }.sign(&[&publishing]);
    let remote = "next".parse().expect("a name");
    verify(&signed.bytes, Subject::Remote(&remote), &trusted, &Floors::default(), at(0)).expect("a release")
}

fn member(name: &HostName) -> Member {
    let before = Before {
        remote: "prod".parse().expect("a name"),
        configuration: name.as_str().parse().expect("a name"),
        pin: None,
    };
    Member {
        assignment: name.as_str().parse().expect("a name"),
        hosts: vec![name.clone()],
        configuration: before.configuration.clone(),
        before: Some(before),
        stood: Some(Serial::FIRST),
        failed_units: BTreeSet::new(),
    }
}

fn course(hosts: &BTreeMap<HostName, Metadata>, extents: &[Extent], max_failed: u32) -> Course {
    let document = release(hosts);
    let candidates =
        hosts.iter().map(|(name, metadata)| Candidate { member: member(name), metadata: metadata.clone() });
    let intent = Rollout {
        remote: "next".parse().expect("a name"),
        release: Believed { serial: Serial::FIRST, digest: document.digest() },
        archive: Digest::of(b"archive"),
        extents: extents.to_vec(),
        waves: plan(candidates.collect(), extents).expect("a plan"),
        gates: Gates { soak: SOAK, timeout: TIMEOUT, max_failed, on_failure: OnFailure::Halt, reboot: false },
        state: RolloutState::Running,
        reason: None,
        driver: None,
        other: Map::new(),
    };
    Course { id: "next-1".parse().expect("a name"), intent, said: at(0), document }
}

/// What a host will make of the release.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It runs it after so many seconds.
    Runs(u32),
    /// It fails, and goes back, after so many seconds.
    Fails(u32),
    /// It is never heard of again.
    FallsSilent,
}

/// A fleet that is not there.
struct Fleet<'a> {
    course: &'a Course,
    fates: &'a BTreeMap<HostName, Fate>,
    told: BTreeMap<AssignmentName, u32>,
}

impl Fleet<'_> {
    fn following(&self, member: &Member) -> Following {
        let is_told = self.told.contains_key(&member.assignment);
        let remote = if is_told { "next" } else { "prod" };
        Following {
            pin: is_told.then(|| self.course.pin()),
            rollout: is_told.then(|| Placement { id: self.course.id.clone(), wave: 1, heartbeat: None, left: false }),
            ..Following::new(remote.parse().expect("a name"), member.configuration.clone())
        }
    }

    fn sight(&self, now: u32) -> Sight {
        let seen = |member: &Member| {
            let told = self.told.get(&member.assignment);
            let following = Box::new(self.following(member));
            let created = at(told.copied().unwrap_or_default());
            let heard = told.map(|told| (member.hosts[0].clone(), self.heard(member, *told, now)));
            let told = Told::Following { following, serial: Serial::FIRST, created };
            (member.assignment.clone(), Seen { told, heard: heard.into_iter().collect() })
        };
        self.course.members().map(seen).collect()
    }

    fn heard(&self, member: &Member, told: u32, now: u32) -> Heard {
        let (fate, runs) = match self.fates[&member.hosts[0]] {
            fate @ Fate::Runs(after) => (fate, now >= told + after),
            fate => (fate, false),
        };
        let has_failed = matches!(fate, Fate::Fails(after) if now >= told + after);
        let outcome = |kind| Outcome {
            at: at(told),
            remote: Some(self.course.intent.remote.clone()),
            serial: Some(Serial::FIRST),
            kind,
            error: Some("activation-failed".into()),
            message: "no".into(),
            log: None,
        };
        let since = if let Fate::Runs(after) = fate { at(told + after) } else { at(0) };
        let report = Report {
            phase: "steady".into(),
            obeys: (!matches!(fate, Fate::FallsSilent)).then(|| Obeyed {
                assignment: Some(Serial::FIRST),
                remote: self.course.intent.remote.clone(),
                configuration: member.configuration.clone(),
                release: Some(self.course.intent.release),
            }),
            runs: runs.then(|| Running {
                archive: Some(self.course.intent.archive),
                configuration: Some(member.configuration.clone()),
                system: String::new(),
                rev: None,
                remote: None,
                serial: None,
                since: Some(since),
            }),
            outcomes: has_failed.then(|| outcome(OutcomeKind::RolledBack)).into_iter().collect(),
            ..Report::default()
        };
        let header = Box::new(header(member.assignment.as_str(), Serial::FIRST, at(now)));
        Heard::Report { header, report: Box::new(report), key: KeyStanding::Pinned, written: None }
    }
}

/// How it went on, second by second.
struct History {
    told: BTreeMap<AssignmentName, u32>,
    failed: bool,
}

/// Drives a rollout to its end with drivers that are only there in some of the seconds, and checks the rules all the while.
fn drive(course: &Course, fates: &BTreeMap<HostName, Fate>, is_there: &[bool]) -> Result<History, TestCaseError> {
    let mut fleet = Fleet { course, fates, told: BTreeMap::new() };
    for second in 0..10_000 {
        if !is_there[second as usize % is_there.len()] && second % 97 != 0 {
            continue;
        }
        let progress = course.progress(&fleet.sight(second), at(second));
        match course.next(&progress, &Down::new()) {
            Next::Tell(wave, names) => {
                tells_only_who_may_be_told(course, &progress, wave, &names)?;
                for name in names {
                    prop_assert!(fleet.told.insert(name.clone(), second).is_none(), "{} is told once", name);
                }
                keeps_limits(course, &fleet, second)?;
            }
            Next::Wait | Next::WaitForDown(_) => {}
            Next::Fail(_) => return Ok(History { told: fleet.told, failed: true }),
            Next::Complete => return Ok(History { told: fleet.told, failed: false }),
            Next::Reboot(batch) => prop_assert!(false, "nobody asked for {:?}", batch),
        }
    }
    Err(TestCaseError::fail("it never ends"))
}

fn tells_only_who_may_be_told(
    course: &Course,
    progress: &Progress,
    wave: u32,
    names: &[AssignmentName],
) -> Result<(), TestCaseError> {
    let wave = wave as usize - 1;
    let standings: BTreeMap<_, _> = progress.members().collect();
    for earlier in &progress.waves[..wave] {
        prop_assert!(earlier.iter().all(|member| member.reached.is_settled()), "the waves before are done");
    }
    for name in names {
        let member = course.intent.waves[wave].iter().find(|member| member.assignment == *name);
        prop_assert!(member.is_some(), "no wave is widened by {}", name);
        for needed in &course.metadata(member.expect("checked")).dependencies {
            let needed: AssignmentName = needed.as_str().parse().expect("a name");
            let is_well = standings.get(&needed).is_none_or(|reached| reached.is_well());
            prop_assert!(is_well, "{} needs {} first", name, needed);
        }
    }
    Ok(())
}

fn keeps_limits(course: &Course, fleet: &Fleet<'_>, now: u32) -> Result<(), TestCaseError> {
    let progress = course.progress(&fleet.sight(now), at(now));
    let standings: BTreeMap<_, _> = progress.members().collect();
    for (group, limit) in course.limits() {
        let out = course.members().filter(|member| {
            standings[&member.assignment].is_unavailable() && course.groups(member).any(|name| name == group)
        });
        prop_assert!(out.count() <= limit, "{} of {}", limit, group);
    }
    Ok(())
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => (1..20_u32).prop_map(Fate::Runs),
        1 => (1..20_u32).prop_map(Fate::Fails),
        1 => Just(Fate::FallsSilent),
    ]
}

/// Hosts that depend only on such with lower numbers.
fn hosts() -> impl Strategy<Value = BTreeMap<HostName, (Metadata, Fate)>> {
    use CriticalityLevel::{Critical, High, Low, Normal};
    let level = proptest::sample::select(&[Low, Normal, High, Critical][..]);
    let needs = proptest::collection::vec(any::<proptest::sample::Index>(), 0..2);
    let host = (level, needs, 0..3_u32, proptest::option::of(1..4_u32), fate());
    proptest::collection::vec(host, 1..25).prop_map(|hosts| {
        let name = |number: usize| -> HostName { format!("h{number:02}").parse().expect("a name") };
        let one =
            |(number, (level, needs, group, limit, fate)): (usize, (_, Vec<proptest::sample::Index>, u32, _, _))| {
                let mut metadata = Metadata::default();
                metadata.groups.insert(format!("g{group}"));
                metadata.orchestration.criticality_level = level;
                metadata.orchestration.max_unavailable.extend(Option::map(limit, |limit| (format!("g{group}"), limit)));
                metadata.dependencies =
                    needs.iter().filter(|_| number > 0).map(|need| name(need.index(number.max(1)))).collect();
                (name(number), (metadata, fate))
            };
        hosts.into_iter().enumerate().map(one).collect()
    })
}

proptest! {
    #[test]
    fn whatever_hosts_do_and_whenever_drivers_are_there_the_rules_hold(
        hosts in hosts(),
        first in 1..4_u8,
        part in 1..100_u8,
        max_failed in 0..4_u32,
        is_there in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        let extents = [format!("{first}"), format!("{part}%"), "100%".to_owned()].map(|text| text.parse().expect("an extent"));
        let metadata = hosts.iter().map(|(name, (metadata, _))| (name.clone(), metadata.clone())).collect();
        let fates: BTreeMap<_, _> = hosts.iter().map(|(name, (_, fate))| (name.clone(), *fate)).collect();
        let course = course(&metadata, &extents, max_failed);
        let history = drive(&course, &fates, &is_there)?;
        let is_good = |name: &AssignmentName| matches!(fates[&name.as_str().parse::<HostName>().expect("a name")], Fate::Runs(_));
        let bad_and_told = history.told.keys().filter(|name| !is_good(name)).count();
        if history.failed {
            prop_assert!(bad_and_told > 0, "nothing fails by itself");
        } else {
            prop_assert!(bad_and_told <= max_failed as usize);
            let reached = Fleet { course: &course, fates: &fates, told: history.told.clone() };
            let progress = course.progress(&reached.sight(99_999), at(99_999));
            prop_assert_eq!(progress.members().filter(|(_, reached)| **reached == Reached::Waiting).count(), 0, "nobody is skipped");
            prop_assert!(bad_and_told > 0 || history.told.len() == hosts.len());
        }
    }
}

fn one_host() -> (Course, BTreeMap<HostName, Fate>) {
    let name: HostName = "a".parse().expect("a name");
    let course = course(&BTreeMap::from([(name.clone(), Metadata::default())]), &[Extent::ALL], 0);
    (course, BTreeMap::from([(name, Fate::Runs(1))]))
}

/// How far the only host has got, told in the first second, after something was changed in what is known of it.
fn reached_after(now: u32, change: impl Fn(&mut Seen)) -> Reached {
    let (course, fates) = one_host();
    let told = course.members().map(|member| (member.assignment.clone(), 0)).collect();
    let fleet = Fleet { course: &course, fates: &fates, told };
    let mut sight = fleet.sight(now);
    sight.values_mut().for_each(change);
    course.progress(&sight, at(now)).waves[0][0].reached.clone()
}

fn report(seen: &mut Seen) -> &mut Report {
    match seen.heard.values_mut().next() {
        Some(Heard::Report { report, .. }) => report,
        other => unreachable!("the host has reported, not {other:?}"),
    }
}

fn following(seen: &mut Seen) -> &mut Following {
    match &mut seen.told {
        Told::Following { following, .. } => following,
        other => unreachable!("it is told, not {other:?}"),
    }
}

#[test]
fn a_host_is_done_once_it_has_run_the_release_for_long_enough_by_a_fresh_report() {
    assert_eq!(reached_after(0, |_| {}), Reached::Told);
    assert_eq!(reached_after(2, |_| {}), Reached::Soaking);
    assert_eq!(reached_after(7, |_| {}), Reached::Done);
    let stale: [fn(&mut Seen); 5] = [
        |seen| report(seen).obeys = None,
        |seen| report(seen).obeys.as_mut().expect("obeyed").assignment = None,
        |seen| report(seen).obeys.as_mut().expect("obeyed").remote = "prod".parse().expect("a name"),
        |seen| report(seen).obeys.as_mut().expect("obeyed").release = None,
        |seen| report(seen).phase = "probation".into(),
    ];
    for (number, change) in stale.into_iter().enumerate() {
        assert_eq!(reached_after(7, change), Reached::Told, "{number}");
    }
    assert_eq!(reached_after(7, |seen| report(seen).runs.as_mut().expect("runs").archive = None), Reached::Told);
}

#[test]
fn a_host_whose_clock_runs_ahead_is_given_its_time_all_the_same() {
    let ahead = |seen: &mut Seen| {
        report(seen).runs.as_mut().expect("runs").since = Some(at(0) - SignedDuration::from_hours(1));
    };
    assert_eq!(reached_after(3, ahead), Reached::Soaking);
    assert_eq!(reached_after(5, ahead), Reached::Done);
}

#[test]
fn units_that_fail_anew_and_systems_in_quarantine_are_failures_and_what_may_pass_is_given_time() {
    let failed = |reached: Reached| reached.failure().map_or(format!("{reached:?}"), str::to_owned);
    let unit = |seen: &mut Seen| report(seen).failed_units.push("web.service".into());
    assert_eq!(failed(reached_after(7, unit)), "failed units: web.service");
    let quarantined = |kind: &'static str| {
        move |seen: &mut Seen| {
            let entry =
                Quarantined { system: "/nix/store/a.drv".into(), at: at(1), kind: kind.into(), message: "no".into() };
            report(seen).quarantined.push(entry);
            report(seen).runs = None;
        }
    };
    assert_eq!(failed(reached_after(7, quarantined("health-check-failed"))), "health-check-failed: no");
    assert_eq!(reached_after(7, quarantined("no-space-in-boot")), Reached::Told);
    let late = u32::try_from(TIMEOUT).expect("small") + 1;
    assert!(failed(reached_after(late, quarantined("no-space-in-boot"))).starts_with("not there after 60 s"));
}

#[test]
fn a_failure_of_another_remotes_release_with_the_same_serial_says_nothing() {
    let failed_at = |remote: &'static str| {
        move |seen: &mut Seen| {
            report(seen).runs = None;
            let remote = Some(remote.parse().expect("a name"));
            let (kind, error) = (OutcomeKind::RolledBack, Some("activation-failed".to_owned()));
            let (serial, message) = (Some(Serial::FIRST), "no".to_owned());
            report(seen).outcomes.push(Outcome { at: at(0), remote, serial, kind, error, message, log: None });
        }
    };
    assert_eq!(reached_after(7, failed_at("prod")), Reached::Told);
    assert_eq!(reached_after(7, failed_at("next")), Reached::Failed("activation-failed: no".to_owned()));
}

#[test]
fn a_machine_that_comes_and_goes_is_not_done_because_it_has_gone_and_nobody_is_who_fell_silent() {
    let days = 2 * 24 * 3600;
    let goes = |seen: &mut Seen| {
        report(seen).ephemeral = true;
        silence(seen);
    };
    assert!(matches!(reached_after(days, goes), Reached::Lost(_)), "it was told, and its time is over");
    assert!(matches!(reached_after(days, silence), Reached::Lost(reason) if reason.starts_with("silent since")));
    assert!(matches!(reached_after(days, |seen| seen.heard.clear()), Reached::Lost(_)));
}

/// Has the host have said nothing since it was done.
fn silence(seen: &mut Seen) {
    for heard in seen.heard.values_mut() {
        if let Heard::Report { header, .. } = heard {
            header.created = at(8);
        }
    }
}

#[test]
fn whoever_waits_for_its_turn_to_reboot_is_not_late_whether_its_system_runs_or_has_to_be_booted_into() {
    let (mut course, fates) = one_host();
    course.intent.gates.reboot = true;
    let told = course.members().map(|member| (member.assignment.clone(), 0)).collect();
    let fleet = Fleet { course: &course, fates: &fates, told };
    let late = u32::try_from(TIMEOUT).expect("small") * 10;
    for has_to_be_booted in [false, true] {
        let mut sight = fleet.sight(late);
        for seen in sight.values_mut() {
            let report = report(seen);
            (report.reboot_needed, report.boot_unproven) = (true, has_to_be_booted);
            report.boot_id = "one".into();
            report.runs = report.runs.take().filter(|_| !has_to_be_booted);
        }
        let progress = course.progress(&sight, at(late));
        assert!(matches!(progress.waves[0][0].reached, Reached::NeedsReboot(_)), "{progress:?}");
        assert!(matches!(course.next(&progress, &Down::new()), Next::Reboot(_)));
        for seen in sight.values_mut() {
            let orders = Orders { reboot: Some(Reboot { boot_id: "one".into() }), ..Orders::default() };
            following(seen).orders = Some(orders);
        }
        assert!(matches!(course.progress(&sight, at(1)).waves[0][0].reached, Reached::Rebooting));
    }
}

#[test]
fn a_host_that_somebody_led_elsewhere_has_left_and_one_of_an_earlier_release_waits() {
    assert_eq!(reached_after(7, |seen| following(seen).rollout = None), Reached::Left);
    let leave = |seen: &mut Seen| {
        let said = following(seen);
        (said.remote, said.pin) = ("prod".parse().expect("a name"), None);
        said.rollout.as_mut().expect("placed").left = true;
    };
    assert_eq!(reached_after(7, leave), Reached::Left, "also where it came from");
    assert_eq!(reached_after(7, |seen| following(seen).pin = None), Reached::Waiting);
    assert_eq!(reached_after(7, |seen| seen.told = Told::Removed(Serial::FIRST)), Reached::Waiting, "as it was before");
    let later = Serial::FIRST.next().expect("a serial");
    assert_eq!(reached_after(7, |seen| seen.told = Told::Removed(later)), Reached::Left);
    assert!(matches!(reached_after(7, |seen| seen.told = Told::Refused("bad-signature")), Reached::Failed(_)));
}

#[test]
fn hosts_that_are_down_by_themselves_count_against_the_limits_of_their_groups() {
    let mut metadata = Metadata { groups: BTreeSet::from(["web".to_owned()]), ..Metadata::default() };
    metadata.orchestration.max_unavailable.insert("web".to_owned(), 1);
    let hosts: BTreeMap<HostName, _> =
        ["a", "b"].map(|name| (name.parse().expect("a name"), metadata.clone())).into_iter().collect();
    let course = course(&hosts, &[Extent::ALL], 0);
    let fates = hosts.keys().map(|name| (name.clone(), Fate::Runs(1))).collect();
    let fleet = Fleet { course: &course, fates: &fates, told: BTreeMap::new() };
    let progress = course.progress(&fleet.sight(0), at(0));
    let next = |down: &[&str]| {
        let groups = || BTreeSet::from(["web".to_owned()]);
        course.next(&progress, &down.iter().map(|name| (name.parse().expect("a name"), groups())).collect())
    };
    let tells = |name: &str| Next::Tell(1, vec![name.parse().expect("a name")]);
    assert_eq!(next(&[]), tells("a"));
    assert!(matches!(next(&["z"]), Next::WaitForDown(reason) if reason.ends_with("silent: z")));
    assert_eq!(next(&["a"]), tells("a"), "who is down already does no harm by being told");
    let mut waits_for_reboot = progress.clone();
    let boots = BTreeMap::from([("a".parse().expect("a name"), "one".to_owned())]);
    waits_for_reboot.waves[0][0].reached = Reached::NeedsReboot(boots);
    let down = Down::from([("z".parse().expect("a name"), BTreeSet::from(["web".to_owned()]))]);
    assert!(matches!(course.next(&waits_for_reboot, &down), Next::WaitForDown(_)), "nor may anybody reboot");
    assert!(matches!(course.next(&waits_for_reboot, &Down::new()), Next::Reboot(_)));
}
