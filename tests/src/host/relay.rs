//! The ways out of a host's network: to the store, whose address is the same inside and outside, and to whatever else it may reach.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Where connections made inside lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WayOut {
    pub(super) inside: SocketAddr,
    pub(super) outside: SocketAddr,
}

/// Passes connections on from inside a network to outside it, until dropped.
#[derive(Debug)]
pub(super) struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Listens in the network `namespace`, a file in `/proc`.
    pub(super) fn start(namespace: &Path, way: WayOut) -> io::Result<Self> {
        let listener = listen_in(namespace, way.inside)?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    _ = pass_on(listener, way.outside) => {}
                }
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A socket stays in the network that its thread was in, so a thread that ends at once does for listening.
fn listen_in(namespace: &Path, address: SocketAddr) -> io::Result<TcpListener> {
    let namespace = File::open(namespace)?;
    let listen = move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpListener::bind(address)
    };
    thread::spawn(listen).join().expect("nothing in it panics")
}

async fn pass_on(listener: TcpListener, address: SocketAddr) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut inside, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut outside = TcpStream::connect(address).await?;
            tokio::io::copy_bidirectional(&mut inside, &mut outside).await
        });
    }
}
