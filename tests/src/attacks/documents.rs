//! Documents made by hand, so that any part of them can be wrong.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use npc_core::digest::Digest;
use npc_core::envelope::pre_authentication_encoding;
use npc_core::key::SecretKey;
use serde_json::{Value, json};

use super::fleet::{ASSIGN, CREATED, FLEET, HOST, OTHERS, PROD, REPORT, ROLLOUT, ROOT, key, public};

/// A payload and its kind.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    kind: &'static str,
    fields: Value,
}

/// The kind's payload type in format 1.
pub(super) fn payload_type(kind: &str) -> String {
    format!("application/vnd.npc.{kind}.v1+json")
}

impl Statement {
    fn new(kind: &'static str, name: &str, serial: u64, body: &Value) -> Self {
        let header = json!({ "fleet": FLEET, "name": name, "serial": serial, "created": CREATED, "trust": 1 });
        body.as_object()
            .into_iter()
            .flatten()
            .fold(Self { kind, fields: header }, |statement, (field, value)| statement.with(field, value.clone()))
    }

    /// A release of `prod`, of this archive.
    pub(super) fn release(serial: u64, archive: &[u8]) -> Self {
        Self::release_of("prod", serial, &Digest::of(archive).to_string(), archive.len() as u64)
    }

    /// A release of a remote, of the archive with this digest and length.
    pub(super) fn release_of(remote: &str, serial: u64, sha256: &str, size: u64) -> Self {
        let archive = json!({ "sha256": sha256, "size": size });
        Self::new("release", remote, serial, &json!({ "archive": archive, "source": { "dirty": false } }))
    }

    /// An assignment of `host` to `prod`.
    pub(super) fn assignment(host: &str, serial: u64) -> Self {
        Self::new("assignment", host, serial, &json!({ "remote": "prod", "configuration": HOST }))
    }

    /// A report of `host`.
    pub(super) fn report(host: &str, serial: u64) -> Self {
        let body = json!({ "instance": "0", "boot_id": "0", "agent_version": "0.1.0", "phase": "steady" });
        Self::new("report", host, serial, &body)
    }

    /// A version of the trust, with these root keys and these keys for `prod`.
    pub(super) fn trust(version: u64, root: &[&str], prod: &[&str]) -> Self {
        let role = |keys: &[&str]| json!({ "keys": keys, "threshold": keys.len() });
        let all = [root, prod, &OTHERS, &ASSIGN, &ROLLOUT].concat();
        let mut publish = [role(prod), role(&OTHERS)];
        (publish[0]["remotes"], publish[1]["remotes"]) = ("prod".into(), "*".into());
        let body = json!({
            "keys": public(&all),
            "root": role(root),
            "release": publish,
            "assignment": role(&ASSIGN),
            "rollout": role(&ROLLOUT),
        });
        Self::new("trust", "trust", version, &body).with("trust", version)
    }

    /// The first version of the trust.
    pub(super) fn first_trust() -> Self {
        Self::trust(1, &ROOT, &PROD)
    }

    /// With this field changed or added.
    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields[field] = value.into();
        self
    }

    /// The payload's bytes.
    pub(super) fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(&self.fields).expect("a map of values is valid JSON")
    }

    /// In an envelope that nobody has signed.
    pub(super) fn sealed(&self) -> Sealed {
        Sealed { payload_type: payload_type(self.kind), payload: self.payload(), signatures: Vec::new() }
    }

    /// In an envelope that the fleet's keys of these names signed.
    pub(super) fn signed(&self, names: &[&str]) -> Sealed {
        names.iter().fold(self.sealed(), |sealed, name| sealed.by(&key(name)))
    }

    /// As the keys sign it that may.
    pub(super) fn honest(&self) -> Vec<u8> {
        let keys: &[&str] = match (self.kind, self.fields["name"].as_str()) {
            ("release", Some("prod")) => &PROD,
            ("release", _) => &OTHERS,
            ("assignment", _) => &ASSIGN,
            ("report", _) => &REPORT,
            _ => &ROOT,
        };
        self.signed(keys).to_bytes()
    }
}

/// An envelope.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    /// What its payload claims to be.
    pub(super) payload_type: String,
    /// The payload.
    pub(super) payload: Vec<u8>,
    /// Key names and signatures.
    pub(super) signatures: Vec<(String, Vec<u8>)>,
}

impl Sealed {
    /// What `key` signs to say this.
    pub(super) fn signature(&self, key: &SecretKey) -> Vec<u8> {
        key.sign(&pre_authentication_encoding(&self.payload_type, &self.payload)).to_vec()
    }

    /// Signed by `key` as well.
    pub(super) fn by(self, key: &SecretKey) -> Self {
        let signature = self.signature(key);
        self.under(key.name().as_str(), signature)
    }

    /// With this signature under this key's name as well.
    pub(super) fn under(mut self, name: &str, signature: Vec<u8>) -> Self {
        self.signatures.push((name.to_owned(), signature));
        self
    }

    /// The envelope as JSON, to be changed.
    pub(super) fn to_json(&self) -> Value {
        let signatures: Vec<_> = self
            .signatures
            .iter()
            .map(|(name, signature)| json!({ "keyid": name, "sig": BASE64.encode(signature) }))
            .collect();
        json!({ "payloadType": self.payload_type, "payload": BASE64.encode(&self.payload), "signatures": signatures })
    }

    /// The envelope's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.to_json()).expect("a map of values is valid JSON")
    }
}
