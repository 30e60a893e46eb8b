//! A gate before a store in a bucket. It denies what the bucket's own policy denies, which moto cannot: it knows no conditions.
//!
//! It reads a policy as AWS documents it (IAM User Guide, "IAM JSON policy elements: Condition operators"; Amazon S3 User Guide,
//! "Enforce conditional writes on Amazon S3 buckets"), as far as npc's policies go, and ends where one goes further.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::fault_proxy::exchange::{ask, read_request};

/// What S3 says to whoever may not do something.
const DENIAL: &str = "<Error><Code>AccessDenied</Code><Message>with an explicit deny</Message></Error>";

/// A request, as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Such as `s3:PutObject`.
    pub action: &'static str,
    /// The ARN of a bucket or an object.
    pub resource: String,
    /// What conditions can ask for.
    pub keys: BTreeMap<&'static str, String>,
}

/// Whether a statement of the policy denies this to everybody.
pub fn denies(policy: &Value, asked: &Asked) -> bool {
    let statements = policy["Statement"].as_array().expect("statements");
    statements.iter().any(|statement| {
        assert_eq!((&statement["Effect"], &statement["Principal"]), (&"Deny".into(), &"*".into()), "{statement}");
        let names = |what: &str, name: &str| texts(&statement[what]).iter().any(|pattern| matches(pattern, name));
        names("Action", asked.action) && names("Resource", &asked.resource) && holds(&statement["Condition"], asked)
    })
}

/// Whether all conditions hold: under every operator, for every key.
fn holds(condition: &Value, asked: &Asked) -> bool {
    // Without any, there is none that does not hold.
    condition.as_object().into_iter().flatten().all(|(operator, keys)| {
        keys.as_object().expect("keys").iter().all(|(key, expected)| {
            let found = asked.keys.get(key.as_str());
            match operator.as_str() {
                "Null" => found.is_none() == (expected == "true"),
                "Bool" => found.is_some_and(|found| expected == found.as_str()),
                other => panic!("the gate knows no condition `{other}`"),
            }
        })
    })
}

/// One text or several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// Whether a pattern, in which `*` is anything, matches all of a text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => {
            let rest = text.strip_prefix(before);
            rest.is_some_and(|rest| (0..=rest.len()).any(|skipped| matches(after, &rest[skipped..])))
        }
    }
}

/// What a request to S3 asks for. Buckets are named in the path.
pub fn asked(head: &str) -> Option<Asked> {
    let mut lines = head.lines();
    let mut line = lines.next()?.split(' ');
    let (method, target) = (line.next()?, line.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_matches('/');
    let action = match (method, path.contains('/')) {
        ("GET" | "HEAD", true) => "s3:GetObject",
        ("GET" | "HEAD", false) => "s3:ListBucket",
        ("PUT" | "POST", true) => "s3:PutObject",
        ("DELETE", true) if query.contains("versionId=") => "s3:DeleteObjectVersion",
        ("DELETE", true) => "s3:DeleteObject",
        _ => return None,
    };
    // Whoever reaches S3 as npc does, reaches it by TLS: the gate is not about that.
    let mut keys = BTreeMap::from([("aws:SecureTransport", "true".to_owned())]);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "if-match" => drop(keys.insert("s3:if-match", value.trim().to_owned())),
            "if-none-match" => drop(keys.insert("s3:if-none-match", value.trim().to_owned())),
            _ => {}
        }
    }
    if action == "s3:PutObject" {
        // Neither the beginning of a multipart upload nor a part of it creates an object.
        let is_part =
            query.contains("partNumber=") || query.split('&').any(|field| field.trim_end_matches('=') == "uploads");
        keys.insert("s3:ObjectCreationOperation", (!is_part).to_string());
    }
    Some(Asked { action, resource: format!("arn:aws:s3:::{path}"), keys })
}

/// A gate on a port of its own.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    /// A gate before the store at `target`, whose bucket has this policy.
    pub fn start(target: SocketAddr, policy: Value) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let policy = Arc::new(policy);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = accept(&listener, target, &policy) => {}
                    // Dropped with the gate, which says the same.
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and what it broke has failed the test.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, target: SocketAddr, policy: &Arc<Value>) {
    while let Ok((client, _)) = listener.accept().await {
        let policy = Arc::clone(policy);
        tokio::spawn(async move {
            // A client may go at any time.
            let _ = serve(client, target, &policy).await;
        });
    }
}

/// Answers the requests of one connection until it ends.
async fn serve(mut client: TcpStream, target: SocketAddr, policy: &Value) -> io::Result<()> {
    client.set_nodelay(true)?;
    while let Some(request) = read_request(&mut client).await? {
        let head = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(request.len());
        let asked = asked(&String::from_utf8_lossy(&request[..head])).ok_or(io::ErrorKind::InvalidData)?;
        if denies(policy, &asked) {
            let length = DENIAL.len();
            let denial = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {length}\r\n\r\n{DENIAL}");
            client.write_all(denial.as_bytes()).await?;
            continue;
        }
        let answer = ask(target, &request).await?;
        client.write_all(&answer.whole()).await?;
        if !answer.is_framed() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(more: &str) -> Asked {
        asked(&format!("PUT /bucket/fleet/remotes/prod.json{more}\r\nHost: x\r\n")).expect("a request")
    }

    #[test]
    fn a_condition_holds_if_all_of_it_holds() {
        let policy = json!({ "Statement": [{
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:Put*",
            "Resource": ["arn:aws:s3:::bucket/other/*", "arn:aws:s3:::bucket/*/remotes/*"],
            "Condition": {
                "Null": { "s3:if-match": "true", "s3:if-none-match": "true" },
                "Bool": { "s3:ObjectCreationOperation": "true" },
            },
        }] });
        assert!(denies(&policy, &put(" HTTP/1.1")));
        assert!(denies(&policy, &put("?uploadId=1 HTTP/1.1")));
        assert!(!denies(&policy, &put("?uploadId=1&partNumber=2 HTTP/1.1")));
        assert!(!denies(&policy, &put("?uploads= HTTP/1.1")));
        assert!(!denies(&policy, &put(" HTTP/1.1\r\nif-match: \"tag\"")));
        assert!(!denies(&policy, &put(" HTTP/1.1\r\nIf-None-Match: *")));
        let others = ["PUT /bucket/fleet/reports/web-1.json HTTP/1.1", "GET /bucket/fleet/remotes/prod.json HTTP/1.1"];
        for other in others {
            assert!(!denies(&policy, &asked(other).expect("a request")), "{other}");
        }
    }

    #[test]
    fn a_statement_without_conditions_always_holds() {
        let statement = |action| json!({ "Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*" });
        let policy = |action| json!({ "Statement": [statement(action)] });
        let remove = asked("DELETE /bucket/fleet/trust/1.json HTTP/1.1").expect("a request");
        let version = asked("DELETE /bucket/fleet/trust/1.json?versionId=7 HTTP/1.1").expect("a request");
        for (action, removes, removes_version) in
            [("s3:DeleteObject", true, false), ("s3:DeleteObjectVersion", false, true), ("s3:PutObject", false, false)]
        {
            assert_eq!(denies(&policy(action), &remove), removes, "{action}");
            assert_eq!(denies(&policy(action), &version), removes_version, "{action}");
        }
    }
}
