//! Naming hosts in bulk: by name, glob, group, role, remote, or all of them.

use std::collections::BTreeSet;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};
use npc_core::name::{HostName, RemoteName};

use super::{Host, View};
use crate::failure::{Exit, Failure};

/// Some hosts.
#[derive(Debug, Clone)]
pub enum Selector {
    /// All of them.
    All,
    /// The members of a group.
    Group(String),
    /// Those there for one thing.
    Role(String),
    /// Those that should follow a remote.
    Remote(RemoteName),
    /// Those whose names match.
    Glob(GlobMatcher),
    /// This one.
    Name(HostName),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named =
            |text: &str| if text.is_empty() { Err("there is no name in it".to_owned()) } else { Ok(text.to_owned()) };
        match text.split_once(':') {
            Some(("group", group)) => named(group).map(Self::Group),
            Some(("role", role)) => named(role).map(Self::Role),
            Some(("remote", remote)) => remote.parse().map(Self::Remote).map_err(|error| format!("{error}")),
            Some((kind, _)) => Err(format!("`{kind}:` selects nothing; there are group:, role: and remote:")),
            None if text == "all" => Ok(Self::All),
            None if text.contains(['*', '?', '[', '{']) => {
                Glob::new(text).map(|glob| Self::Glob(glob.compile_matcher())).map_err(|error| error.to_string())
            }
            None => text.parse().map(Self::Name).map_err(|error| format!("{error}")),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Group(group) => write!(formatter, "group:{group}"),
            Self::Role(role) => write!(formatter, "role:{role}"),
            Self::Remote(remote) => write!(formatter, "remote:{remote}"),
            Self::Glob(glob) => formatter.write_str(glob.glob().glob()),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

impl Selector {
    fn matches(&self, host: &Host) -> bool {
        match self {
            Self::All => true,
            Self::Group(group) => host.metadata.groups.contains(group),
            Self::Role(role) => host.metadata.role.as_ref() == Some(role),
            Self::Remote(remote) => host.remote() == Some(remote),
            Self::Glob(glob) => glob.is_match(host.name.as_str()),
            // The name of an assignment that hosts share stands for all of them.
            Self::Name(name) => host.name == *name || host.assignment.as_str() == name.as_str(),
        }
    }

    /// Words for a selector that matches nothing.
    fn in_vain(&self, view: &View) -> Failure {
        let failure = Failure::new(Exit::Usage, format!("`{self}` matches no host"));
        let known = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
        let hosts = || view.hosts.values();
        let hint = match self {
            Self::Group(_) => known(hosts().flat_map(|host| &host.metadata.groups).map(String::as_str).collect()),
            Self::Role(_) => known(hosts().filter_map(|host| host.metadata.role.as_deref()).collect()),
            Self::Remote(_) => known(hosts().filter_map(|host| host.remote().map(RemoteName::as_str)).collect()),
            Self::All | Self::Glob(_) | Self::Name(_) => {
                return failure.hint("`npc-publish status` lists the hosts that have reported or are assigned");
            }
        };
        match (self, hint.is_empty()) {
            (Self::Remote(_), true) => failure.hint("no host is assigned or has reported"),
            (_, true) => failure.hint("no release that hosts follow records any; see `npc.host` in nixos/host.nix"),
            (_, false) => failure.hint(format!("there are: {hint}")),
        }
    }
}

/// Several selectors, taken together, less others.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What is in; nothing said is everything.
    pub included: Vec<Selector>,
    /// What is out.
    pub excluded: Vec<Selector>,
}

/// What to make of a host's name that nobody knows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strangers {
    /// It is a mistake.
    Refused,
    /// It is that of a host to come.
    Welcome,
}

impl Selection {
    /// The hosts that are meant, each once. One of the selectors that matches none is a mistake.
    pub fn hosts(&self, view: &View, strangers: Strangers) -> Result<BTreeSet<HostName>, Failure> {
        let mut chosen = BTreeSet::new();
        for selector in &self.included {
            let mut matching = view.hosts.values().filter(|host| selector.matches(host)).peekable();
            match (selector, matching.peek().is_none()) {
                (Selector::Name(name), true) if strangers == Strangers::Welcome || view.is_vacant(name) => {
                    chosen.insert(name.clone());
                }
                (_, true) => return Err(selector.in_vain(view)),
                (_, false) => chosen.extend(matching.map(|host| host.name.clone())),
            }
        }
        if self.included.is_empty() {
            chosen.extend(view.hosts.keys().cloned());
        }
        for selector in &self.excluded {
            let matching: BTreeSet<_> =
                view.hosts.values().filter(|host| selector.matches(host)).map(|host| &host.name).collect();
            // A slip of the pen here would change hosts that were to be spared.
            if matching.is_empty() {
                return Err(selector.in_vain(view));
            }
            chosen.retain(|name| !matching.contains(name));
        }
        if chosen.is_empty() && !self.excluded.is_empty() {
            return Err(Failure::new(Exit::Usage, "nothing is left that is not excepted"));
        }
        Ok(chosen)
    }
}
