//! One host: what it is told, what it says, and what follows from both.

use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::document::{Archive, Following, Header, Metadata, Report, Serial};
use npc_core::fleet::{KeyStanding, Reported};
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName};
use serde_json::{Value, json};

use super::standing::Standing;

/// How often hosts report that do not say how often.
const USUAL_HEARTBEAT: SignedDuration = SignedDuration::from_mins(30);

/// How seldom a host may say that it reports.
const SELDOM: SignedDuration = SignedDuration::from_hours(24);

/// How much later than announced a report may come before its host counts as silent.
const LATENESS: SignedDuration = SignedDuration::from_mins(5);

/// How wrong a host's clock may be before its host counts as silent.
const WRONG: SignedDuration = SignedDuration::from_hours(24);

/// How far apart two clocks may be that show the same time, a report's way to the store included.
const SAME_TIME: SignedDuration = SignedDuration::from_mins(2);

/// A host.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// The assignment that it asks for: of its own name, or one that it shares with others.
    pub assignment: AssignmentName,
    /// What that says.
    pub told: Told,
    /// What it last said of itself.
    pub heard: Heard,
    /// The key that signed it, according to itself.
    pub claimed: Option<PublicKey>,
    /// What it should run, where anybody can know.
    pub wanted: Option<Wanted>,
    /// What the release has on record of it.
    pub metadata: Metadata,
    /// How it is.
    pub standing: Standing,
}

/// What an assignment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// There has never been one: the host goes by its own settings.
    Nothing,
    /// It was taken back, under this serial: likewise.
    Removed(Serial),
    /// This.
    Following {
        /// Where to, and how.
        following: Box<Following>,
        /// The assignment's serial.
        serial: Serial,
        /// When it was said.
        created: Timestamp,
    },
    /// Something that is not to be believed, for this kind of reason.
    Refused(&'static str),
}

impl Told {
    /// The serial of what is believed to stand there.
    pub fn serial(&self) -> Option<Serial> {
        match self {
            Self::Following { serial, .. } | Self::Removed(serial) => Some(*serial),
            Self::Nothing | Self::Refused(_) => None,
        }
    }

    /// What is to be followed, where an assignment says so.
    pub fn following(&self) -> Option<&Following> {
        match self {
            Self::Following { following, .. } => Some(following),
            Self::Nothing | Self::Removed(_) | Self::Refused(_) => None,
        }
    }
}

/// What a host last said of itself.
#[derive(Debug)]
pub enum Heard {
    /// Nothing, ever.
    Nothing,
    /// Something that is not to be believed.
    Refused {
        /// The kind of the refusal.
        kind: &'static str,
        /// How its key is known.
        key: KeyStanding,
    },
    /// This.
    Report {
        /// When, and under which trust.
        header: Box<Header>,
        /// What.
        report: Box<Report>,
        /// How its key is known.
        key: KeyStanding,
        /// When it was written, by the store's clock, if that is known.
        written: Option<Timestamp>,
    },
}

impl From<Reported> for Heard {
    fn from(reported: Reported) -> Self {
        let (key, written) = (reported.key, reported.written);
        match reported.state {
            Err(refusal) => Self::Refused { kind: refusal.kind(), key },
            Ok(document) => {
                let document = document.into_document();
                let (header, report) = (Box::new(document.header), Box::new(document.body.cleaned()));
                Self::Report { header, report, key, written }
            }
        }
    }
}

impl Heard {
    /// The report, if there is one to be believed.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Report { report, .. } => Some(report),
            Self::Nothing | Self::Refused { .. } => None,
        }
    }

    /// When the host was last heard of: by the store's clock, since a host's own may be wrong, or else by the host's.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Report { header, written, .. } => Some(written.unwrap_or(header.created)),
            Self::Nothing | Self::Refused { .. } => None,
        }
    }

    /// When the host says that it was, by its own clock.
    fn signed(&self) -> Option<Timestamp> {
        match self {
            Self::Report { header, .. } => Some(header.created),
            Self::Nothing | Self::Refused { .. } => None,
        }
    }

    /// How much the host's clock differs from the store's, as far as that is known.
    pub fn clock_differs(&self) -> Option<SignedDuration> {
        let Self::Report { header, written: Some(written), .. } = self else { return None };
        Some(header.created.duration_since(*written)).filter(|difference| difference.abs() > SAME_TIME)
    }

    /// How the key of the report is known.
    pub fn key(&self) -> Option<KeyStanding> {
        match self {
            Self::Report { key, .. } | Self::Refused { key, .. } => Some(*key),
            Self::Nothing => None,
        }
    }

    /// Whether it is about a machine that comes and goes, and is gone.
    pub fn has_left(&self, now: Timestamp) -> bool {
        self.report().is_some_and(|report| report.ephemeral) && self.silent_since(now).is_some()
    }

    /// Since when the host should have said something again.
    pub fn silent_since(&self, now: Timestamp) -> Option<Timestamp> {
        let (report, at) = (self.report()?, self.at()?);
        let seconds = report.heartbeat.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        let heartbeat = seconds.map_or(USUAL_HEARTBEAT, SignedDuration::from_secs).min(SELDOM);
        let patience = heartbeat * 2 + LATENESS;
        // A store that was copied, or that shows an old report again, dates it anew. No clock is wrong by days for long.
        let signed = self.signed()?;
        let is_late = now.duration_since(at) > patience || now.duration_since(signed) > patience + WRONG;
        is_late.then_some(at.min(signed))
    }
}

/// The word for how the key of a report is known.
pub fn key_word(key: KeyStanding) -> &'static str {
    match key {
        KeyStanding::Pinned => "pinned",
        KeyStanding::Unpinned => "unpinned",
        KeyStanding::Wrong => "wrong",
    }
}

/// What a host should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The remote that it is to follow.
    pub remote: RemoteName,
    /// The configuration that it is to build.
    pub configuration: ConfigurationName,
    /// The release that this leads to, or why to none.
    pub release: Result<WantedRelease, NoRelease>,
}

/// The release that a host should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRelease {
    /// The remote that has it.
    pub remote: RemoteName,
    /// Its serial.
    pub serial: Serial,
    /// The digest of its payload.
    pub digest: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// Its archive.
    pub archive: Archive,
    /// The configuration in that.
    pub configuration: ConfigurationName,
    /// The commit, with a `+` where the working tree differed.
    pub rev: Option<String>,
    /// What quarantined systems of it are called, see `npc-agent`: by output, by derivation, by archive and configuration.
    pub systems: Vec<String>,
}

impl WantedRelease {
    /// The release as other programs get to see it.
    pub fn value(&self) -> Value {
        json!({
            "serial": self.serial,
            "digest": self.digest,
            "archive": self.archive,
            "rev": self.rev,
            "created": self.created,
        })
    }
}

/// Why what a host follows leads to no release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRelease {
    /// Nothing was ever published to the remote.
    NoSuchRemote,
    /// The release that the assignment pins is not there.
    NoSuchRelease(Serial),
    /// The remote was removed.
    Removed,
    /// What it holds is not to be believed, for this kind of reason.
    Refused(&'static str),
    /// It holds no such configuration.
    NoSuchConfiguration(Serial),
}

impl NoRelease {
    /// A sentence about it.
    pub fn words(&self, wanted: &Wanted) -> String {
        let (remote, configuration) = (&wanted.remote, &wanted.configuration);
        match self {
            Self::NoSuchRemote => format!("nothing was ever published to `{remote}`"),
            Self::NoSuchRelease(serial) => format!("there is no release {remote}@{serial}"),
            Self::Removed => format!("remote `{remote}` was removed"),
            Self::Refused(kind) => format!("what `{remote}` holds is refused ({kind})"),
            Self::NoSuchConfiguration(serial) => {
                format!("{remote}@{serial} holds no configuration `{configuration}`")
            }
        }
    }
}

impl Host {
    /// The release that it should run.
    pub fn wanted_release(&self) -> Option<&WantedRelease> {
        self.wanted.as_ref()?.release.as_ref().ok()
    }

    /// The remote that it should follow, by its assignment, or else by its own account.
    pub fn remote(&self) -> Option<&RemoteName> {
        Some(&self.wanted.as_ref()?.remote)
    }

    /// Whether its machine comes and goes, and is gone.
    pub fn has_left(&self, now: Timestamp) -> bool {
        self.heard.has_left(now)
    }

    /// Whether it shares its assignment with others.
    pub fn shares_its_assignment(&self) -> bool {
        self.assignment.as_str() != self.name.as_str()
    }
}
