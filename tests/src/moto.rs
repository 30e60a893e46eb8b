//! A moto: a stand-in for S3 and IAM on loopback, which enforces the policies that it is given.
//!
//! It compares the actions and resources of a principal's own policies with each request, and checks signatures. It takes no
//! notice of conditions, other than that it denies whatever a statement with one allows, and replaces no variables.

use std::path::{Path, PathBuf};
use std::process::Command;

use npc_core::store::StoreUrl;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;

use crate::eventually;
use crate::http::ask;
use crate::parts::{BUCKET, MOTO, REGION, missing};
use crate::process::Background;

/// Credentials of one principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
    /// The session's token, where the principal is a role.
    pub session: Option<String>,
}

impl Keys {
    /// Has a program act with them.
    pub fn give<'command>(&self, command: &'command mut Command) -> &'command mut Command {
        command.env("AWS_ACCESS_KEY_ID", &self.id).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        match &self.session {
            Some(token) => command.env("AWS_SESSION_TOKEN", token),
            None => command.env_remove("AWS_SESSION_TOKEN"),
        }
    }
}

/// A moto with an empty bucket. It ends when dropped.
#[derive(Debug)]
pub struct Moto {
    address: StoreUrl,
    server: Background,
    _folder: TempDir,
}

impl Moto {
    /// Starts one that lets everybody do everything, or skips loudly.
    pub fn start() -> Option<Self> {
        let Some(program) = std::env::var_os(MOTO).map(PathBuf::from) else { return missing("moto") };
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", "0"]).env_remove("INITIAL_NO_AUTH_ACTION_COUNT");
        let mut server = Background::start(&mut command, &folder.path().join("moto.log"));
        let address = eventually("moto says where it is", || {
            assert!(server.runs(), "moto ended: {}", server.words());
            let words = server.words();
            let (_, rest) = words.split_once("Running on ")?;
            rest.lines().next()?.trim().parse().ok()
        });
        let moto = Self { address, server, _folder: folder };
        let bucket = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        moto.ask("s3", "PUT", &format!("/{BUCKET}"), &bucket);
        Some(moto)
    }

    /// A place in its bucket.
    pub fn url(&self, prefix: &str) -> StoreUrl {
        let endpoint = self.address.to_string();
        let endpoint = endpoint.trim_end_matches('/');
        format!("s3://{BUCKET}/{prefix}?region={REGION}&endpoint={endpoint}").parse().expect("an address")
    }

    /// Makes a user who may do what the policy says.
    pub fn user(&self, name: &str, policy: &str) -> Keys {
        self.call("iam", &[("Action", "CreateUser"), ("UserName", name)]);
        self.call(
            "iam",
            &[("Action", "PutUserPolicy"), ("UserName", name), ("PolicyName", "npc"), ("PolicyDocument", policy)],
        );
        keys(&self.call("iam", &[("Action", "CreateAccessKey"), ("UserName", name)]))
    }

    /// Makes a role that may do what the policy says, and gives a session of it.
    pub fn role(&self, name: &str, policy: &str) -> Keys {
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        self.call("iam", &[("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", trust)]);
        self.call(
            "iam",
            &[("Action", "PutRolePolicy"), ("RoleName", name), ("PolicyName", "npc"), ("PolicyDocument", policy)],
        );
        let arn = format!("arn:aws:iam::123456789012:role/{name}");
        keys(&self.call("sts", &[("Action", "AssumeRole"), ("RoleArn", &arn), ("RoleSessionName", "test")]))
    }

    /// From now on, nobody may do anything but what a policy of theirs says.
    pub fn enforce(&self) {
        self.ask("s3", "POST", "/moto-api/reset-auth", "0");
    }

    /// From now on, sessions of this role may do nothing. Everybody else may what their policies say.
    pub fn revoke(&self, role: &str) {
        self.ask("s3", "POST", "/moto-api/reset-auth", "inf");
        self.call("iam", &[("Action", "DeleteRolePolicy"), ("RoleName", role), ("PolicyName", "npc")]);
        self.enforce();
    }

    /// What it has logged so far.
    pub fn words(&self) -> String {
        self.server.words()
    }

    fn call(&self, service: &str, parameters: &[(&str, &str)]) -> String {
        let encoded = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        let body: Vec<_> = parameters.iter().map(encoded).collect();
        self.ask(service, "POST", "/", &body.join("&"))
    }

    /// Before it enforces anything, it only looks at a request's signature to see which service is meant.
    fn ask(&self, service: &str, method: &str, path: &str, body: &str) -> String {
        let scope = format!("{}/20200101/{REGION}/{service}/aws4_request", crate::parts::ACCESS_KEY);
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none");
        let kind = if path == "/" { "application/x-www-form-urlencoded" } else { "application/octet-stream" };
        let headers = [("authorization", authorization.as_str()), ("content-type", kind)];
        let answer = ask(&self.address, method, path, &headers, body.as_bytes());
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status(), 200, "{service} {method} {path}: {text}");
        text
    }
}

/// The credentials in an answer of IAM's or STS's.
fn keys(answer: &str) -> Keys {
    let element = |name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(value, _)| value.to_owned())
    };
    let required = |name: &str| element(name).unwrap_or_else(|| panic!("no {name} in {answer}"));
    Keys { id: required("AccessKeyId"), secret: required("SecretAccessKey"), session: element("SessionToken") }
}

/// A policy of this repository, for a store in a bucket and one host of it.
pub fn policy(name: &str, prefix: &str, host: &str, assignment: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies").join(name);
    let text = std::fs::read_to_string(path).expect("a policy");
    let words = [("BUCKET", BUCKET), ("PREFIX", prefix), ("ASSIGNMENT", assignment), ("HOST", host)];
    words.iter().fold(text, |text, (word, value)| text.replace(word, value))
}
