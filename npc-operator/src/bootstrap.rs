//! The script that turns a bare machine into a host, with what one machine is told written into it.

use std::collections::BTreeMap;

use npc_core::digest::Digest;
use npc_core::enrolment::{Enrolment, Reported};
use npc_core::name::{AssignmentName, HostName};
use npc_core::store::{S3Url, StoreUrl};
use thiserror::Error;
use url::{Host, Url};

/// The script as it lies in `bootstrap/`, with empty values.
const SCRIPT: &str = include_str!("../../bootstrap/bootstrap.sh");

/// The longest user data that EC2 takes, in bytes, before it is encoded.
pub const LONGEST: usize = 16 * 1024;

/// Below so many MiB of free memory a machine gets swap until its own agent takes over, unless told otherwise.
pub const SWAP_BELOW: u32 = 400;

/// For so many seconds of pauses the script tries again, unless told otherwise.
pub const PATIENCE: u32 = 3600;

/// A processor's architecture, by the name that `uname -m` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// `x86_64`
    X86,
    /// `aarch64`
    Arm,
}

impl Architecture {
    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }
}

impl std::str::FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::X86, Self::Arm];
        all.into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("`{text}` is neither x86_64 nor aarch64, as `uname -m` has it"))
    }
}

/// Where a machine gets its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// From the store: the static binary with this digest, for each architecture.
    Store(BTreeMap<Architecture, Digest>),
    /// Built, or substituted, from a flake reference by the machine's own Nix.
    Flake(String),
}

/// What one machine is told.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// What it is enrolled with.
    pub enrolment: Enrolment,
    /// The group that it belongs to, where it is one of several machines that come and go: it is called what the group is, with
    /// its instance id behind, obeys the assignment of the group's name, and nobody looks for it once it is silent.
    pub group: Option<AssignmentName>,
    /// Where it gets its agent.
    pub agent: Agent,
    /// Below so many MiB of free memory, there is swap until the machine's own agent takes over.
    pub swap_below: u32,
    /// After pauses of so many seconds altogether it gives up, until the next boot.
    pub patience: u32,
}

/// A script that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BootstrapError {
    /// It is too long for user data.
    #[error("the script has {0} bytes, and EC2 takes no user data of more than {LONGEST}")]
    TooLong(usize),
    /// Nobody can fetch anything there with curl alone.
    #[error("a machine that has no agent yet cannot fetch one from the store: {0}")]
    Store(&'static str),
    /// No architecture has an agent.
    #[error("there is no agent for any architecture")]
    NoAgent,
    /// A value cannot stand in a script, or in TOML.
    #[error("{0} cannot be written into a script")]
    Value(&'static str),
}

impl Bootstrap {
    /// What the machine is told beside what it finds out by itself. Where its name is known here, neither the network's name for it
    /// nor one that its first system brings decides what it builds.
    fn told(&self) -> Enrolment {
        let mut told = self.enrolment.clone();
        if let Some(group) = self.group.clone() {
            told = Enrolment { host: None, assignment: Some(group), report: Reported { ephemeral: true }, ..told };
        }
        let named = told.assignment.as_ref().map(AssignmentName::as_str).or(told.host.as_ref().map(HostName::as_str));
        let own = || Some(named?.parse().expect("every host's name could be a configuration's"));
        told.configuration = told.configuration.clone().or_else(own);
        told
    }

    /// The script. The same for the same machine, always.
    pub fn render(&self) -> Result<String, BootstrapError> {
        let enrolment = toml::to_string(&self.told()).map_err(|_| BootstrapError::Value("the enrolment"))?;
        let source = Source::of(&self.enrolment)?;
        let (agents, flake) = match &self.agent {
            Agent::Store(agents) if agents.is_empty() => return Err(BootstrapError::NoAgent),
            Agent::Store(agents) => {
                let words = agents.iter().map(|(machine, digest)| format!("{}={digest}", machine.as_str()));
                (words.collect::<Vec<_>>().join(" "), String::new())
            }
            Agent::Flake(reference) => (String::new(), reference.clone()),
        };
        let values = [
            ("NPC_ENROLMENT", enrolment),
            ("NPC_GROUP", self.group.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("NPC_STORE", source.base),
            ("NPC_SIGV4", source.sigv4),
            ("NPC_TOKEN_FILE", source.token_file),
            ("NPC_AGENTS", agents),
            ("NPC_AGENT_FLAKE", flake),
            ("NPC_SWAP_BELOW", self.swap_below.to_string()),
            ("NPC_PATIENCE", self.patience.to_string()),
        ];
        if values.iter().any(|(_, value)| value.contains('\0')) {
            return Err(BootstrapError::Value("a zero byte"));
        }
        let script = SCRIPT.split_inclusive('\n').map(|line| match line.split_once('=') {
            Some((name, _)) => match values.iter().find(|(known, _)| *known == name) {
                Some((name, value)) => format!("{name}={}\n", quoted(value)),
                None => line.to_owned(),
            },
            None => line.to_owned(),
        });
        let script: String = script.collect();
        if script.len() > LONGEST { Err(BootstrapError::TooLong(script.len())) } else { Ok(script) }
    }
}

/// One word for a POSIX shell that stands for exactly this text.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The store as curl sees it.
struct Source {
    /// What all keys are put behind.
    base: String,
    /// What curl signs requests as, for S3.
    sigv4: String,
    /// The file with a token, for HTTP.
    token_file: String,
}

impl Source {
    fn of(enrolment: &Enrolment) -> Result<Self, BootstrapError> {
        let token_file = match &enrolment.store_token_file {
            None => String::new(),
            Some(path) => path.to_str().ok_or(BootstrapError::Value("the path of the token's file"))?.to_owned(),
        };
        let (base, sigv4) = match &enrolment.store {
            StoreUrl::Directory(path) => {
                let path = path.to_str().ok_or(BootstrapError::Value("the store's path"))?;
                (format!("file://{}/", path.trim_end_matches('/')), String::new())
            }
            StoreUrl::Http(url) if token_file.is_empty() || is_for_tokens(url) => (url.to_string(), String::new()),
            StoreUrl::Http(_) => return Err(BootstrapError::Store("its token would go over the network in the clear")),
            StoreUrl::S3(bucket) => s3(bucket)?,
        };
        Ok(Self { base, sigv4, token_file })
    }
}

/// Whether whoever listens on the way sees no token: TLS, or no way at all.
fn is_for_tokens(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || is_here
}

/// The bucket's address, and the provider, region and service that curl signs for.
fn s3(S3Url { bucket, prefix, region, endpoint }: &S3Url) -> Result<(String, String), BootstrapError> {
    let Some(region) = region else {
        return Err(BootstrapError::Store("its address does not say the bucket's region"));
    };
    // What is escaped in a path, curl and S3 would have to escape alike before they sign.
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte));
    if ![bucket, prefix, region].into_iter().all(|text| is_plain(text)) {
        return Err(BootstrapError::Store("bucket, prefix and region must be made of letters, digits and -._~/"));
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let base = match endpoint {
        Some(endpoint) => format!("{}/{bucket}/{prefix}", endpoint.as_str().trim_end_matches('/')),
        // A certificate for all buckets covers no name with a dot in it.
        None if bucket.contains('.') => format!("https://s3.{region}.{domain}/{bucket}/{prefix}"),
        None => format!("https://{bucket}.s3.{region}.{domain}/{prefix}"),
    };
    Ok((base, format!("aws:amz:{region}:s3")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn bootstrap(store: &str, more: &str) -> Bootstrap {
        let enrolment = format!(
            "fleet = \"00000000000000000000000000000000\"\nstore = \"{store}\"\nremote = \"prod\"\nhost = \"web-1\"\n\
             root_keys = [\"npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE=\"]\n{more}"
        );
        let digest = DIGEST.parse().expect("a digest");
        Bootstrap {
            enrolment: toml::from_str(&enrolment).expect("an enrolment"),
            group: None,
            agent: Agent::Store([(Architecture::X86, digest)].into()),
            swap_below: 400,
            patience: 3600,
        }
    }

    /// What a shell takes the value for, having read the script and run none of it.
    fn value(script: &str, name: &str) -> String {
        let values: String = script.split_inclusive('\n').take_while(|line| !line.starts_with("state=")).collect();
        let program = format!("{values}printf '%s' \"${name}\"");
        let output = Command::new("sh").args(["-c", &program]).output().expect("a shell");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    #[test]
    fn what_a_machine_is_told_is_what_the_script_has() {
        let more = "initial_configuration = \"small\"\n[minimum_serials]\nprod = 7\n";
        let told = bootstrap("s3://my-bucket/fleet?region=eu-central-1", more);
        let script = told.render().expect("a script");
        let read: Enrolment = toml::from_str(&value(&script, "NPC_ENROLMENT")).expect("an enrolment");
        let configuration = Some("web-1".parse().expect("a name"));
        assert_eq!(read, Enrolment { configuration, ..told.enrolment.clone() });
        assert_eq!(value(&script, "NPC_STORE"), "https://my-bucket.s3.eu-central-1.amazonaws.com/fleet/");
        assert_eq!(value(&script, "NPC_SIGV4"), "aws:amz:eu-central-1:s3");
        assert_eq!(value(&script, "NPC_AGENTS"), format!("x86_64={DIGEST}"));
        assert!(script.len() < 8 * 1024, "{}", script.len());
        assert_eq!(script, told.render().expect("the same"));
    }

    #[test]
    fn a_machine_is_told_the_configuration_of_its_name_unless_another_is_said() {
        let of = |more: &str, group: Option<&str>, has_host: bool| {
            let mut told = bootstrap("file:///srv/store", more);
            told.group = group.map(|name| name.parse().expect("a name"));
            told.enrolment.host.take_if(|_| !has_host);
            let script = told.render().expect("a script");
            let read: Enrolment = toml::from_str(&value(&script, "NPC_ENROLMENT")).expect("an enrolment");
            read.configuration.map(|name| name.to_string())
        };
        assert_eq!(of("", None, true).as_deref(), Some("web-1"));
        assert_eq!(of("configuration = \"other\"\n", None, true).as_deref(), Some("other"));
        assert_eq!(of("assignment = \"shared\"\n", None, true).as_deref(), Some("shared"));
        assert_eq!(of("", Some("workers"), false).as_deref(), Some("workers"));
        assert_eq!(of("", None, false), None, "the machine alone knows its name");
    }

    #[test]
    fn stores_are_addressed_as_curl_needs_it_or_refused() {
        let at = |store: &str| bootstrap(store, "").render().map(|script| value(&script, "NPC_STORE"));
        let region = "region=us-east-1";
        for (store, base) in [
            (format!("s3://a.b?{region}"), "https://s3.us-east-1.amazonaws.com/a.b/"),
            ("s3://b/p?region=cn-north-1".to_owned(), "https://b.s3.cn-north-1.amazonaws.com.cn/p/"),
            (format!("s3://b/p?{region}&endpoint=http://127.0.0.1:3900"), "http://127.0.0.1:3900/b/p/"),
            ("https://store.example.org/fleet".to_owned(), "https://store.example.org/fleet/"),
            ("file:///srv/store".to_owned(), "file:///srv/store/"),
        ] {
            assert_eq!(at(&store).as_deref(), Ok(base));
        }
        assert!(matches!(at("s3://bucket/fleet"), Err(BootstrapError::Store(_))), "no region");
        let token = "store_token_file = \"/a/token\"\n";
        for (store, is_taken) in [
            ("https://a.example.org/", true),
            ("http://127.0.0.1:1/", true),
            ("http://127.0.0.1.example.org/", false),
            ("http://a.example.org/", false),
        ] {
            assert_eq!(bootstrap(store, token).render().is_ok(), is_taken, "{store}");
        }
    }

    #[test]
    fn what_user_data_cannot_hold_is_refused() {
        let told = bootstrap("file:///srv/store", "");
        let long = Bootstrap { agent: Agent::Flake("x".repeat(LONGEST)), ..told.clone() };
        assert!(matches!(long.render(), Err(BootstrapError::TooLong(_))));
        let zero = Bootstrap { agent: Agent::Flake("a\0b".to_owned()), ..told.clone() };
        assert!(matches!(zero.render(), Err(BootstrapError::Value(_))));
        let none = Bootstrap { agent: Agent::Store(BTreeMap::new()), ..told };
        assert_eq!(none.render(), Err(BootstrapError::NoAgent));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_a_value_is_the_shell_takes_it_for_that_text(text in "[^\0]{0,40}|['\"$`\\\\\n !;&]{0,20}") {
            let told = bootstrap("file:///srv/store", "");
            let told = Bootstrap { agent: Agent::Flake(text.clone()), ..told };
            // The last word keeps what a shell would cut off the end.
            prop_assert_eq!(value(&told.render().expect("a script"), "NPC_AGENT_FLAKE"), text);
        }
    }
}
