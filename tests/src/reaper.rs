//! A proxy that keeps account of what is written through it, and kills a process at one of its writes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::fault_proxy::exchange::{ask, read_request};

/// At which of its writes a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The server never gets this one, counted from 0.
    Before(usize),
    /// The server has done it, and nobody hears of that.
    After(usize),
}

/// A write that the server has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The path, without the leading slash.
    pub path: String,
    /// What.
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Account {
    victim: Option<(u32, Death)>,
    seen: usize,
    written: Vec<Written>,
}

impl Account {
    /// Kills the victim if this is where it dies.
    fn strike(&mut self, at: Death) -> bool {
        let Some((process, _)) = self.victim.filter(|(_, death)| *death == at) else { return false };
        self.victim = None;
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::KILL).expect("whoever writes is there");
        true
    }
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Reaper {
    address: SocketAddr,
    account: Arc<Mutex<Account>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// A proxy to `target`, which lets everybody live.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let account = Arc::new(Mutex::new(Account::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&account);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = accept(&listener, target, &shared) => {}
                    // Dropped with the proxy, which says the same.
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, account, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins a new account, in which this process dies.
    pub fn await_death(&self, process: u32, death: Death) {
        *self.account() = Account { victim: Some((process, death)), ..Account::default() };
    }

    /// From now on, everybody lives.
    pub fn rest(&self) {
        self.account().victim = None;
    }

    /// What the server has done since.
    pub fn written(&self) -> Vec<Written> {
        self.account().written.clone()
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().expect("no thread panics with it")
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and what it broke has failed the test.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, target: SocketAddr, account: &Arc<Mutex<Account>>) {
    while let Ok((client, _)) = listener.accept().await {
        let account = Arc::clone(account);
        tokio::spawn(async move {
            // Whoever was killed has gone in the middle of it.
            let _ = serve(client, target, &account).await;
        });
    }
}

async fn serve(mut client: TcpStream, target: SocketAddr, account: &Mutex<Account>) -> io::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let of = || account.lock().expect("no thread panics with it");
    while let Some(request) = read_request(&mut client).await? {
        let write = written(&request);
        let number = write.as_ref().map(|_| {
            let mut account = of();
            account.seen += 1;
            account.seen - 1
        });
        if number.is_some_and(|number| of().strike(Death::Before(number))) {
            return Ok(());
        }
        let answer = ask(target, &request).await?;
        if let Some(write) = write.filter(|_| answer.is_success()) {
            of().written.push(write);
        }
        if number.is_some_and(|number| of().strike(Death::After(number))) {
            return Ok(());
        }
        client.write_all(&answer.whole()).await?;
        if !answer.is_framed() {
            return Ok(());
        }
    }
    Ok(())
}

/// What a request writes, if it does, and not just to try the store out.
fn written(request: &[u8]) -> Option<Written> {
    let path = request.strip_prefix(b"PUT /")?.split(|byte| *byte == b' ').next()?;
    let path = String::from_utf8_lossy(path).into_owned();
    let body = request.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    (!path.starts_with("probe/")).then(|| Written { path, body: request[body..].to_vec() })
}
