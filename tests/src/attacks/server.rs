//! A web server that holds a layer, and lies as its recipe says. What hosts report to it, it keeps as it came.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use super::large;
use super::layer::Layer;
use super::recipe::Behaviour;

/// What endless bodies consist of: as JSON, nothing yet.
const FILLER: [u8; 16 * 1024] = [b' '; 16 * 1024];

/// No request is longer, in bytes.
const REQUEST: usize = 64 * 1024;

/// A server on a port of its own, until dropped.
#[derive(Debug)]
pub struct HostileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    layer: RwLock<Arc<Layer>>,
    /// What was written last under each key.
    written: Mutex<BTreeMap<String, Vec<u8>>>,
    sent: AtomicU64,
    asked: AtomicU64,
    ends: AtomicBool,
}

impl HostileServer {
    /// A server that holds nothing yet.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self { address: listener.local_addr()?, shared: Arc::default() };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ends.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client that hangs up in the middle is what most attacks are to end in.
                thread::spawn(move || drop(shared.answer(client)));
            }
        });
        Ok(server)
    }

    /// The store's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Holds this from now on.
    pub fn hold(&self, layer: Layer) {
        *self.shared.layer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(layer);
    }

    /// What was written last under this key.
    pub(super) fn written(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.written.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// How many bytes of bodies and heads it has got rid of so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // Wakes the listener; if nobody listens any more, so much the better.
        let _ = TcpStream::connect(self.address);
    }
}

/// What a client asks for.
struct Request {
    method: String,
    key: String,
    body: Vec<u8>,
}

/// A header's value in a request's head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn read_request(client: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let mut read_on = |bytes: &mut Vec<u8>| {
        let read = client.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..read]);
        if read == 0 || bytes.len() > REQUEST { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) } else { Ok(()) }
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_on(&mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length: usize = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        read_on(&mut bytes)?;
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok(Request { method: method.to_owned(), key: path.trim_start_matches('/').to_owned(), body: bytes.split_off(end) })
}

impl Shared {
    fn answer(&self, mut client: TcpStream) -> io::Result<()> {
        let Request { method, key, body } = read_request(&mut client)?;
        if method == "PUT" {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key, body);
            return self.status(&mut client, 204, "");
        }
        let layer = Arc::clone(&self.layer.read().unwrap_or_else(PoisonError::into_inner));
        let bytes = layer.objects.get(&key);
        match (layer.recipe.get(&key), bytes) {
            (None, Some(bytes)) => self.whole(&mut client, bytes),
            (None, None) => self.status(&mut client, 404, ""),
            (Some(behaviour), bytes) => self.follow(behaviour, &mut client, bytes.map_or(&[], Vec::as_slice)),
        }
    }

    fn follow(&self, behaviour: &Behaviour, client: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        match behaviour {
            Behaviour::Status(status) => self.status(client, *status, ""),
            Behaviour::Redirect(key) => self.status(client, 302, &format!("Location: /{key}\r\n")),
            Behaviour::EndlessHead => {
                self.send(client, b"HTTP/1.1 200 OK\r\n")?;
                (0_u64..).try_for_each(|number| self.send(client, format!("X-{number}: {number}\r\n").as_bytes()))
            }
            Behaviour::EndlessBody => {
                self.send(client, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                self.send(client, bytes)?;
                loop {
                    self.send(client, &FILLER)?;
                }
            }
            Behaviour::DripLater(_) if self.asked.fetch_add(1, Ordering::SeqCst) < 2 => self.whole(client, bytes),
            Behaviour::Drip(milliseconds) | Behaviour::DripLater(milliseconds) => {
                self.drip(client, bytes, *milliseconds)
            }
            Behaviour::Anew => {
                let part = if self.asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { 2 } else { 3 };
                self.head(client, bytes.len() as u64)?;
                self.send(client, &bytes[..bytes.len() / part])
            }
            Behaviour::Announce(length) => {
                self.head(client, *length)?;
                self.send(client, bytes)
            }
            Behaviour::Elements { element, count } => {
                self.whole(client, format!("[{}]", vec![element.as_str(); *count].join(",")).as_bytes())
            }
            Behaviour::Entries(_) | Behaviour::Zeros(_) | Behaviour::ZerosBehind(_) => {
                self.whole(client, &large::archive(behaviour).expect("it describes an archive"))
            }
        }
    }

    fn drip(&self, client: &mut TcpStream, bytes: &[u8], milliseconds: u64) -> io::Result<()> {
        self.send(client, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        for byte in bytes {
            if self.ends.load(Ordering::SeqCst) {
                break;
            }
            self.send(client, &[*byte])?;
            thread::sleep(Duration::from_millis(milliseconds));
        }
        Ok(())
    }

    fn whole(&self, client: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        self.head(client, bytes.len() as u64)?;
        self.send(client, bytes)
    }

    fn head(&self, client: &mut TcpStream, length: u64) -> io::Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        self.send(client, head.as_bytes())
    }

    fn status(&self, client: &mut TcpStream, status: u16, header: &str) -> io::Result<()> {
        let head = format!("HTTP/1.1 {status} As asked\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n");
        self.send(client, head.as_bytes())
    }

    fn send(&self, client: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        client.write_all(bytes)?;
        self.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}
