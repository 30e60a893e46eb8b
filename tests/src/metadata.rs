//! An instance's metadata service as EC2 has it, version 2 alone: who shows no session's token is told nothing.
//!
//! It answers as AWS documents it (EC2 User Guide, "Use the Instance Metadata Service to access instance metadata" and "Retrieve
//! security credentials from instance metadata"), as far as hosts ask.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use jiff::{Timestamp, Unit};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::fault_proxy::exchange::read_request;
use crate::moto::Keys;
use crate::parts::REGION;

/// The name of the role that an instance has, where it has one.
pub const ROLE: &str = "npc-host";

/// How long a session may last.
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Which session a request belongs to.
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// The longest session, in seconds.
const LONGEST_SESSION: u64 = 21_600;

/// How long a role's credentials last, unless a test says otherwise.
const ROLE_SESSION: Duration = Duration::from_hours(6);

/// The metadata service of one instance. It ends when dropped.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    instance: Arc<Instance>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Metadata {
    /// The service of the instance with this id, on a port of its own. Without keys, the instance has no role.
    pub fn start(instance: &str, keys: Option<&Keys>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), instance, keys)
    }

    /// Likewise, at this address.
    pub fn start_at(address: SocketAddr, instance: &str, keys: Option<&Keys>) -> Self {
        let instance = Arc::new(Instance { id: instance.to_owned(), state: Mutex::default() });
        if let Some(keys) = keys {
            instance.hand_out(keys, ROLE_SESSION);
        }
        let listener = std::net::TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&instance);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = accept(&listener, &served) => {}
                    // Dropped with the service, which says the same.
                    _ = stopped => {}
                }
            });
        });
        Self { address, instance, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives the instance's role these credentials from now on, and the instance a role if it has none.
    pub fn hand_out(&self, keys: &Keys, for_so_long: Duration) {
        self.instance.hand_out(keys, for_so_long);
    }

    /// What it has been asked so far, and what came of it: such as `PUT /latest/api/token 200`.
    pub fn asked(&self) -> Vec<String> {
        self.instance.state().asked.clone()
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and what it broke has failed the test.
            let _ = thread.join();
        }
    }
}

/// What the service tells of.
#[derive(Debug)]
struct Instance {
    id: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What it tells of its role's credentials.
    credentials: Option<String>,
    /// When the session with this token ends.
    sessions: BTreeMap<String, Instant>,
    asked: Vec<String>,
}

impl Instance {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(&self, keys: &Keys, for_so_long: Duration) {
        let in_seconds = |time: Timestamp| time.round(Unit::Second).expect("a time").to_string();
        let now = Timestamp::now();
        let credentials = json!({
            "Code": "Success",
            "LastUpdated": in_seconds(now),
            "Type": "AWS-HMAC",
            "AccessKeyId": keys.id,
            "SecretAccessKey": keys.secret,
            "Token": keys.session.as_deref().unwrap_or_default(),
            "Expiration": in_seconds(now + for_so_long),
        });
        self.state().credentials = Some(credentials.to_string());
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut state = self.state();
        let answer = match request.method.as_str() {
            "PUT" if request.path == "/latest/api/token" => state.begin_session(request),
            "GET" if state.is_in_session(request) => self.tell(&state, &request.path),
            "GET" => Answer::refusal(401),
            _ => Answer::refusal(404),
        };
        state.asked.push(format!("{} {} {}", request.method, request.path, answer.status));
        answer
    }

    fn tell(&self, state: &State, path: &str) -> Answer {
        let role = path.strip_prefix("/latest/meta-data/iam/security-credentials/");
        let told = match (path, role, &state.credentials) {
            ("/latest/meta-data/instance-id", ..) => Some(self.id.clone()),
            ("/latest/meta-data/placement/region", ..) => Some(REGION.to_owned()),
            (_, Some(""), Some(_)) => Some(ROLE.to_owned()),
            (_, Some(ROLE), Some(credentials)) => Some(credentials.clone()),
            _ => None,
        };
        told.map_or_else(|| Answer::refusal(404), |body| Answer { status: 200, body, ttl: None })
    }
}

impl State {
    fn begin_session(&mut self, request: &Request) -> Answer {
        // A proxy that anybody can reach must not get hold of a session.
        if request.header("x-forwarded-for").is_some() {
            return Answer::refusal(403);
        }
        match request.header(TTL).and_then(|seconds| seconds.parse().ok()) {
            Some(ttl @ 1..=LONGEST_SESSION) => {
                let mut secret = [0; 40];
                getrandom::fill(&mut secret).expect("randomness");
                let token = URL_SAFE.encode(secret);
                self.sessions.insert(token.clone(), Instant::now() + Duration::from_secs(ttl));
                Answer { status: 200, body: token, ttl: Some(ttl) }
            }
            _ => Answer::refusal(400),
        }
    }

    fn is_in_session(&self, request: &Request) -> bool {
        let end = request.header(TOKEN).and_then(|token| self.sessions.get(token));
        end.is_some_and(|end| Instant::now() < *end)
    }
}

struct Request {
    method: String,
    path: String,
    head: String,
}

impl Request {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut words = head.lines().next()?.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { method, path, head })
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

struct Answer {
    status: u16,
    body: String,
    ttl: Option<u64>,
}

impl Answer {
    fn refusal(status: u16) -> Self {
        Self { status, body: String::new(), ttl: None }
    }

    fn whole(&self) -> String {
        let ttl = self.ttl.map_or_else(String::new, |ttl| format!("{TTL}: {ttl}\r\n"));
        let (status, length) = (self.status, self.body.len());
        format!(
            "HTTP/1.1 {status} Answer\r\ncontent-type: text/plain\r\n{ttl}content-length: {length}\r\n\r\n{}",
            self.body
        )
    }
}

async fn accept(listener: &TcpListener, instance: &Arc<Instance>) {
    while let Ok((client, _)) = listener.accept().await {
        let instance = Arc::clone(instance);
        tokio::spawn(async move {
            // A client may go at any time.
            let _ = serve(client, &instance).await;
        });
    }
}

/// Answers the requests of one connection until it ends.
async fn serve(mut client: TcpStream, instance: &Instance) -> io::Result<()> {
    while let Some(request) = read_request(&mut client).await? {
        let request = Request::parse(&request).ok_or(io::ErrorKind::InvalidData)?;
        client.write_all(instance.answer(&request).whole().as_bytes()).await?;
        if request.header("connection") == Some("close") {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{eventually, http};

    const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

    impl Metadata {
        fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> http::Answer {
            let url = format!("http://{}/", self.address()).parse().expect("an address");
            http::ask(&url, method, path, headers, b"")
        }

        fn session(&self, seconds: &str) -> String {
            let answer = self.ask("PUT", "/latest/api/token", &[(TTL, seconds)]);
            assert_eq!((answer.status(), answer.header(TTL)), (200, Some(seconds)));
            String::from_utf8(answer.body).expect("text")
        }

        fn told(&self, session: &str, path: &str) -> (u16, String) {
            let answer = self.ask("GET", path, &[(TOKEN, session)]);
            (answer.status(), String::from_utf8(answer.body).expect("text"))
        }
    }

    fn keys() -> Keys {
        Keys { id: "an-id".to_owned(), secret: "a-secret".to_owned(), session: None }
    }

    #[test]
    fn only_a_session_that_lasts_is_told_anything() {
        let metadata = Metadata::start("i-1", Some(&keys()));
        for headers in [&[][..], &[(TOKEN, "guessed")]] {
            assert_eq!(metadata.ask("GET", "/latest/meta-data/instance-id", headers).status(), 401);
        }
        for seconds in ["0", "21601", "soon"] {
            assert_eq!(metadata.ask("PUT", "/latest/api/token", &[(TTL, seconds)]).status(), 400);
        }
        assert_eq!(metadata.ask("PUT", "/latest/api/token", &[]).status(), 400);
        let forwarded = [(TTL, "60"), ("X-Forwarded-For", "192.0.2.1")];
        assert_eq!(metadata.ask("PUT", "/latest/api/token", &forwarded).status(), 403);
        let (session, short) = (metadata.session("21600"), metadata.session("1"));
        assert_ne!(session, short);
        let told = || metadata.told(&short, "/latest/meta-data/instance-id");
        eventually("the session ends", || (told() == (401, String::new())).then_some(()));
        assert_eq!(metadata.told(&session, "/latest/meta-data/instance-id"), (200, "i-1".to_owned()));
        assert_eq!(metadata.told(&session, "/latest/meta-data/placement/region"), (200, REGION.to_owned()));
        assert_eq!(metadata.told(&session, "/latest/user-data").0, 404);
        assert!(metadata.asked().contains(&"PUT /latest/api/token 403".to_owned()));
        assert!(metadata.asked().contains(&"GET /latest/meta-data/instance-id 200".to_owned()));
    }

    #[test]
    fn an_instance_has_the_newest_credentials_of_its_role_or_none() {
        let metadata = Metadata::start("i-1", None);
        let session = metadata.session("60");
        assert_eq!(metadata.told(&session, CREDENTIALS).0, 404);
        assert_eq!(metadata.told(&session, &format!("{CREDENTIALS}{ROLE}")).0, 404);
        for (keys, token) in [(keys(), ""), (Keys { session: Some("a-session".to_owned()), ..keys() }, "a-session")] {
            metadata.hand_out(&keys, Duration::from_mins(15));
            assert_eq!(metadata.told(&session, CREDENTIALS), (200, ROLE.to_owned()));
            let (status, told) = metadata.told(&session, &format!("{CREDENTIALS}{ROLE}"));
            assert_eq!(status, 200);
            let told: Value = serde_json::from_str(&told).expect("JSON");
            assert_eq!((&told["Code"], &told["Token"]), (&"Success".into(), &token.into()));
            assert_eq!((&told["AccessKeyId"], &told["SecretAccessKey"]), (&"an-id".into(), &"a-secret".into()));
            let end: Timestamp = told["Expiration"].as_str().expect("a text").parse().expect("a time");
            assert!(end > Timestamp::now() + Duration::from_mins(14));
        }
    }
}
