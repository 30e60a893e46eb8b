//! One health check.

use std::time::Duration;

use npc_core::digest::Digest;
use npc_core::explain;
use npc_core::store::install_crypto;
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::process::Command;
use url::Url;

use crate::activation::{Program, unit};

/// The longest answer to an HTTP check that is looked through, in bytes.
const BODY_BYTES: usize = 1024 * 1024;

/// A health check, as the host's description has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What is asked.
    #[serde(flatten)]
    pub kind: Kind,
    /// How long one try may take, in seconds.
    #[serde(default = "five")]
    timeout: u64,
    /// How long between two tries, in seconds.
    #[serde(default = "five")]
    interval: u64,
    /// How many tries in a row may fail.
    #[serde(default = "three")]
    pub retries: u32,
    /// For how long after the activation failures do not count, in seconds.
    #[serde(default)]
    start_period: u64,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// A GET request answers with this status, and with a body that has this text in it.
    Http {
        /// The address, `http://` or `https://`.
        url: Address,
        /// The status.
        #[serde(default = "ok")]
        status: u16,
        /// The text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// A TCP connection can be made.
    Tcp {
        /// To where.
        #[serde(default = "localhost")]
        host: String,
        /// To which port.
        port: u16,
    },
    /// A program ends with exit code 0.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// A systemd unit is active.
    Unit {
        /// Its name.
        unit: String,
    },
}

/// An address that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Url);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Url::parse(&text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(Self(url)),
            Ok(_) => Err(format!("`{text}` is no http:// or https:// address")),
            Err(error) => Err(format!("`{text}`: {error}")),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.into()
    }
}

fn ok() -> u16 {
    200
}

fn localhost() -> String {
    "localhost".to_owned()
}

fn five() -> u64 {
    5
}

fn three() -> u32 {
    3
}

impl Check {
    /// How long one try may take: at least a second.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.max(1))
    }

    /// How long between two tries: at least a second.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.max(1))
    }

    /// For how long failures do not count.
    pub fn start_period(&self) -> Duration {
        Duration::from_secs(self.start_period)
    }

    /// The digest of everything about it.
    pub fn definition(&self) -> Digest {
        Digest::of(&serde_json::to_vec(self).expect("a structure with text keys"))
    }

    /// Tries once. The error is a sentence for people.
    pub async fn run(&self, name: &str) -> Result<(), String> {
        match tokio::time::timeout(self.timeout(), self.kind.run(name, self.timeout())).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", self.timeout().as_secs())),
        }
    }
}

impl Kind {
    async fn run(&self, name: &str, timeout: Duration) -> Result<(), String> {
        match self {
            Self::Http { url, status, body } => http(&url.0, *status, body.as_deref()).await,
            Self::Tcp { host, port } => match TcpStream::connect((host.as_str(), *port)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("cannot connect to {host}:{port}: {error}")),
            },
            Self::Command { command } => run_command(name, command, timeout).await,
            Self::Unit { unit } => match unit::show(unit, "ActiveState").await.as_str() {
                "active" => Ok(()),
                "" => Err(format!("{unit} is unknown")),
                state => Err(format!("{unit} is {state}")),
            },
        }
    }
}

async fn http(url: &Url, status: u16, text: Option<&str>) -> Result<(), String> {
    let failed = |error: reqwest::Error| explain::in_one_line(&error);
    // The health of this host is not a proxy's, and an answer elsewhere is another check.
    install_crypto();
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().map_err(failed)?;
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status().as_u16() != status {
        return Err(format!("{url} answers {}, not {status}", response.status()));
    }
    let Some(text) = text else { return Ok(()) };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if contains(&body, text) {
            return Ok(());
        }
        if body.len() > BODY_BYTES {
            break;
        }
    }
    Err(format!("the answer of {url} has no `{text}` in it"))
}

fn contains(body: &[u8], text: &str) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn run_command(name: &str, command: &[String], timeout: Duration) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    // A name out of the description is no name for a file.
    let log = tempfile::Builder::new().prefix("npc-check-").tempfile().map_err(|error| error.to_string())?;
    let program = Program { purpose: "run the check", kind: "health-check-failed", command, log: log.path(), timeout };
    program.run().await.map_err(|failed| match failed.log {
        Some(log) => format!("{}: {}", failed.message, log.lines().last().unwrap_or_default()),
        None => format!("`{name}`: {}", failed.message),
    })
}
