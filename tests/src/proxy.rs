//! A TCP proxy that can be switched off: a store that is down for a while.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    passed: Arc<AtomicU64>,
}

impl Proxy {
    /// A proxy to `target`, up.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let proxy = Self {
            address: listener.local_addr()?,
            up: Arc::new(AtomicBool::new(true)),
            open: Arc::default(),
            passed: Arc::default(),
        };
        let (up, open, passed) = (Arc::clone(&proxy.up), Arc::clone(&proxy.open), Arc::clone(&proxy.passed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !up.load(Ordering::SeqCst) {
                    drop(client);
                    continue;
                }
                if let Ok(server) = TcpStream::connect(target) {
                    let kept = [client.try_clone(), server.try_clone()].into_iter().flatten();
                    open.lock().expect("no thread panics with it").extend(kept);
                    join(client, server, &passed);
                }
            }
        });
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that have passed, both ways.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Breaks all connections and refuses new ones.
    pub fn go_down(&self) {
        self.up.store(false, Ordering::SeqCst);
        for stream in self.open.lock().expect("no thread panics with it").drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections pass again.
    pub fn come_back(&self) {
        self.up.store(true, Ordering::SeqCst);
    }
}

fn join(client: TcpStream, server: TcpStream, passed: &Arc<AtomicU64>) {
    let (Ok(client_reader), Ok(server_reader)) = (client.try_clone(), server.try_clone()) else { return };
    for (mut from, mut to) in [(client_reader, server), (server_reader, client)] {
        let passed = Arc::clone(passed);
        thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                passed.fetch_add(read as u64, Ordering::Relaxed);
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
