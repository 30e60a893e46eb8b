//! Stores that fail on purpose: what is tried again, how often, and what is not. The server here is a fake, since it has to
//! misbehave to order.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use npc_core::digest::Digest;
use npc_core::document::Archive;
use npc_core::layout::ObjectKey;
use npc_core::store::{
    Answer, Content, ETag, Fault, Options, Patience, Precondition, Read, Retries, Store, StoreUrl, download, open,
};
use npc_tests::noise;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

/// How one request is answered.
#[derive(Debug, Clone)]
enum Act {
    /// A status without content.
    Status(u16),
    /// All of it.
    Whole(Vec<u8>),
    /// The head for all of it, and only so many bytes.
    CutOff(Vec<u8>, usize),
    /// From the byte that the request asks for.
    Rest(Vec<u8>),
    /// The head, and then silence.
    Stall,
    /// Nothing at all.
    HangUp,
}

/// A server that goes through its acts, and repeats the last one.
struct Stage {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn open(acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut acts) = (Arc::clone(&requests), VecDeque::from(acts.to_vec()));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(head) = read_head(&stream) else { continue };
                seen.lock().expect("no thread panics with it").push(head.clone());
                let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() };
                std::thread::spawn(move || play(stream, &head, act.expect("an act")));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no thread panics with it").clone()
    }
}

fn read_head(mut stream: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).to_lowercase())
}

fn play(mut stream: TcpStream, head: &str, act: Act) {
    let begin = |status: &str, length: usize, more: &str| {
        format!("HTTP/1.1 {status}\r\netag: \"v1\"\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n")
            .into_bytes()
    };
    let bytes = match act {
        Act::HangUp => Vec::new(),
        Act::Status(status) => begin(&format!("{status} Fault"), 0, ""),
        Act::Whole(body) => [begin("200 OK", body.len(), ""), body].concat(),
        Act::CutOff(body, at) => [begin("200 OK", body.len(), ""), body[..at].to_vec()].concat(),
        Act::Rest(body) => {
            let range =
                head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
            let start: usize = range.expect("a range is asked for");
            let more = format!("content-range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
            [begin("206 Partial Content", body.len() - start, &more), body[start..].to_vec()].concat()
        }
        Act::Stall => begin("200 OK", 1000, ""),
    };
    // The client may have given up.
    let _ = stream.write_all(&bytes);
    if bytes.ends_with(b"content-length: 1000\r\n\r\n") {
        std::thread::sleep(Duration::from_secs(30));
    }
}

const ATTEMPTS: u32 = 3;

/// How long a store may be silent that is not meant to be: a busy machine's is, for a while.
const SILENCE: Duration = Duration::from_secs(10);

/// Retries with hardly a pause in between, and after so much silence.
fn hasty(stall: Duration) -> Options {
    let pause = Duration::from_millis(1);
    let retries = Retries { attempts: ATTEMPTS, first_pause: pause, longest_pause: pause };
    let patience = Patience { connect: Duration::from_secs(5), stall };
    Options { retries, patience, ..Options::default() }
}

/// The same stage as an HTTP store and as an S3 store, neither of which is given up soon.
async fn stores(stage: &Stage) -> [Arc<dyn Store>; 2] {
    stores_given_up_after(SILENCE, stage).await
}

async fn stores_given_up_after(silence: Duration, stage: &Stage) -> [Arc<dyn Store>; 2] {
    let http: StoreUrl = format!("http://{}/", stage.address).parse().expect("an address");
    let s3: StoreUrl = format!("s3://b/?region=x&endpoint=http://{}", stage.address).parse().expect("an address");
    let options = hasty(silence);
    [open(&http, options.clone()).await.expect("opened"), open(&s3, options).await.expect("opened")]
}

fn key() -> ObjectKey {
    "remotes/prod.json".parse().expect("a key")
}

/// Reads from a stage with these acts through both stores; gives the outcomes and how many requests each took.
async fn read_both(acts: &[Act]) -> Vec<(Result<Vec<u8>, Fault>, usize)> {
    read_both_given_up_after(SILENCE, acts).await
}

async fn read_both_given_up_after(silence: Duration, acts: &[Act]) -> Vec<(Result<Vec<u8>, Fault>, usize)> {
    assert!(std::env::var("AWS_ACCESS_KEY_ID").is_ok(), "set by `cargo xtask test`");
    let mut outcomes = Vec::new();
    for number in 0..2 {
        let stage = Stage::open(acts);
        let store = stores_given_up_after(silence, &stage).await[number].clone();
        let outcome = match store.read(&key(), Read::DOCUMENT).await {
            Ok(Answer::Found { bytes, .. }) => Ok(bytes.to_vec()),
            Ok(Answer::Unchanged { .. }) => panic!("nothing was asked to be unchanged"),
            Err(error) => Err(error.fault),
        };
        outcomes.push((outcome, stage.requests().len()));
    }
    outcomes
}

#[tokio::test]
async fn overload_and_broken_connections_pass() {
    let good = || Act::Whole(b"content".to_vec());
    for first in [Act::Status(503), Act::Status(500), Act::Status(429), Act::HangUp, Act::CutOff(vec![0; 100], 50)] {
        for outcome in read_both(&[first.clone(), good()]).await {
            assert_eq!(outcome, (Ok(b"content".to_vec()), 2), "{first:?}");
        }
    }
}

#[tokio::test]
async fn retries_have_an_end() {
    for acts in [Act::Status(503), Act::HangUp, Act::CutOff(vec![0; 100], 50)] {
        for outcome in read_both(std::slice::from_ref(&acts)).await {
            assert_eq!(outcome, (Err(Fault::Unavailable), ATTEMPTS as usize), "{acts:?}");
        }
    }
}

#[tokio::test]
async fn what_retrying_cannot_mend_is_asked_once() {
    for (status, fault) in
        [(403, Fault::Denied), (401, Fault::BadCredentials), (404, Fault::NotFound), (412, Fault::Conflict)]
    {
        for outcome in read_both(&[Act::Status(status)]).await {
            assert_eq!(outcome, (Err(fault), 1), "{status}");
        }
    }
}

/// Greets each connection with a certificate that nobody vouches for, and counts them.
fn unvouched_server() -> (String, Arc<AtomicUsize>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits");
    let (config, seen) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = format!("localhost:{}", listener.local_addr().expect("bound").port());
    let count = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            let mut connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            // It ends with the client's alert.
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        }
    });
    (address, seen)
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_met_once() {
    let (address, connections) = unvouched_server();
    let url: StoreUrl = format!("https://{address}/").parse().expect("an address");
    let store = open(&url, hasty(SILENCE)).await.expect("opened");
    let failed = store.read(&key(), Read::DOCUMENT).await.expect_err("nobody knows the certificate");
    assert_eq!(failed.fault, Fault::Broken, "{failed:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn conditional_writes_are_asked_for_and_a_conflict_is_told() {
    for number in 0..2 {
        let write = async |acts: &[Act], precondition| {
            let stage = Stage::open(acts);
            let store = stores(&stage).await[number].clone();
            let written = store.write(&key(), Content::Bytes(b"x"), precondition).await;
            (written.map_err(|error| error.fault), stage.requests())
        };
        let (written, requests) = write(&[Act::Status(412)], Precondition::Absent).await;
        assert_eq!((written, requests.len()), (Err(Fault::Conflict), 1));
        assert!(requests[0].contains("if-none-match: *"), "{requests:?}");
        let tag = ETag::new("\"v0\"").expect("a tag");
        let (written, requests) = write(&[Act::Whole(Vec::new())], Precondition::Version(tag)).await;
        assert_eq!(written, Ok(ETag::new("\"v1\"")));
        assert!(requests[0].contains("if-match: \"v0\""), "{requests:?}");
    }
}

/// "409 Conflict ... retry the upload" (Amazon S3 User Guide, conditional writes).
#[tokio::test]
async fn a_conflicting_upload_to_s3_is_tried_again() {
    let stage = Stage::open(&[Act::Status(409), Act::Status(409), Act::Whole(Vec::new())]);
    let store = stores(&stage).await[1].clone();
    store.write(&key(), Content::Bytes(b"x"), Precondition::Absent).await.expect("written in the end");
    assert_eq!(stage.requests().len(), 3);
}

#[tokio::test]
async fn a_stalled_body_is_given_up() {
    let begun = Instant::now();
    for (outcome, requests) in read_both_given_up_after(Duration::from_millis(500), &[Act::Stall]).await {
        assert_eq!(outcome, Err(Fault::Unavailable));
        assert_eq!(requests, ATTEMPTS as usize);
    }
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_download_that_breaks_off_is_resumed_or_begun_again() {
    let body = noise(200_000, 3);
    let archive = Archive { sha256: Digest::of(&body), size: body.len() as u64 };
    let resumed = [Act::CutOff(body.clone(), 70_000), Act::Status(503), Act::Rest(body.clone())];
    let restarted = [Act::CutOff(body.clone(), 70_000), Act::Whole(body.clone())];
    for acts in [&resumed[..], &restarted[..]] {
        for number in 0..2 {
            let stage = Stage::open(acts);
            let store = stores(&stage).await[number].clone();
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("archive");
            download(&*store, &archive, &file).await.expect("downloaded");
            assert!(std::fs::read(&file).expect("read") == body);
            let requests = stage.requests();
            assert_eq!(requests.len(), acts.len());
            assert!(requests[1].contains("range: bytes=70000-"), "{requests:?}");
        }
    }
}
