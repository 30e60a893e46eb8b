//! A proxy that understands enough of HTTP/1.1 to spoil it on purpose: request by request, from a seeded schedule.
//!
//! It runs on one thread of its own, asks the server anew for every request and keeps nothing of a connection that has
//! ended, so that a process under test can be measured for leaks with the proxy inside it.

pub(crate) mod exchange;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use self::exchange::{Answer, ask, read_request};

/// How much of the true answer passes before a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Passed {
    /// Nothing: the request arrived, and that was all.
    Nothing,
    /// The head and half of the body; where there is no body, half of the head.
    Half,
    /// All of it: what breaks is the connection that the client means to keep.
    Everything,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing happens to it.
    None,
    /// The answer comes whole, this much later.
    Late(Duration),
    /// The connection is reset (RST).
    Reset(Passed),
    /// The connection ends in an orderly way (FIN), in the middle of the answer.
    CutOff,
    /// Bytes that are no HTTP take the answer's place.
    Noise,
    /// A web page that somebody else put there takes the answer's place: well-formed, 200, with a tag of its own.
    Portal,
    /// The true head, and a body of the right length with another content.
    Garbled,
    /// An error of the server's, with how many seconds it asks the client to stay away.
    Status(u16, Option<u32>),
    /// The answer comes in pieces of a few bytes, with this pause between two.
    Drip(Duration),
    /// Nothing more comes, and the connection stays open for as long as the client keeps it or the storm lasts.
    Silence(Passed),
}

/// Which faults occur, and how often each, relative to the sum of all.
pub type Mix = [(u32, Fault)];

/// A piece of a dripping answer, in bytes.
const DROP_BYTES: usize = 16;

/// What is decided about requests.
#[derive(Debug)]
struct Sky {
    script: VecDeque<Fault>,
    mix: Vec<(u32, Fault)>,
    random: u64,
    met: BTreeMap<Fault, u64>,
}

impl Sky {
    fn new(seed: u64) -> Self {
        Self { script: VecDeque::new(), mix: Vec::new(), random: seed, met: BTreeMap::new() }
    }

    /// The next fault: what the script says, and behind its end a function of the seed, of the mixes so far and of how many
    /// requests came before.
    fn next(&mut self) -> Fault {
        let fault = self.script.pop_front().unwrap_or_else(|| self.draw_fault());
        *self.met.entry(fault).or_default() += 1;
        fault
    }

    fn draw_fault(&mut self) -> Fault {
        let sum: u64 = self.mix.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let drawn = if sum == 0 { 0 } else { self.draw() % sum };
        let mut upto = 0;
        let chosen = self.mix.iter().find(|(weight, _)| {
            upto += u64::from(*weight);
            drawn < upto
        });
        chosen.map_or(Fault::None, |(_, fault)| *fault)
    }

    /// `SplitMix64`: few lines, the same on every machine, and evenly spread.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A proxy on a port of its own, which spoils what it is told to.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    sky: Arc<Mutex<Sky>>,
    calmed: watch::Sender<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// A proxy to `target`, without faults yet. The same `seed` gives the same schedule.
    pub fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let sky = Arc::new(Mutex::new(Sky::new(seed)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (calmed, calm) = watch::channel(());
        let shared = Arc::clone(&sky);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    () = accept(&listener, target, &shared, &calm) => {}
                    // Dropped with the proxy, which says the same.
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, sky, calmed, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on, these faults occur.
    pub fn storm(&self, mix: &Mix) {
        self.sky().mix = mix.to_vec();
    }

    /// The next requests meet these faults in this order, whatever the weather.
    pub fn script(&self, faults: &[Fault]) {
        self.sky().script = faults.iter().copied().collect();
    }

    /// From the next request on, none occurs, and connections that have fallen silent are reset.
    pub fn calm(&self) {
        self.sky().mix.clear();
        self.calmed.send_replace(());
    }

    /// How often each fault has occurred.
    pub fn met(&self) -> BTreeMap<Fault, u64> {
        self.sky().met.clone()
    }

    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.sky.lock().expect("no thread panics with it")
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and what it broke has failed the test.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, target: SocketAddr, sky: &Arc<Mutex<Sky>>, calm: &watch::Receiver<()>) {
    while let Ok((client, _)) = listener.accept().await {
        let (sky, calm) = (Arc::clone(sky), calm.clone());
        tokio::spawn(async move {
            // Either side may go at any time: that is what it is about.
            let _ = serve(client, target, &sky, calm).await;
        });
    }
}

/// Answers the requests of one connection until it ends.
async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    sky: &Mutex<Sky>,
    mut calm: watch::Receiver<()>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    while let Some(request) = read_request(&mut client).await? {
        calm.mark_unchanged();
        let fault = sky.lock().expect("no thread panics with it").next();
        let answer = ask(target, &request).await?;
        if !spoil(&mut client, &answer, fault, &mut calm).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Plays one answer. Returns whether the connection can be used again.
async fn spoil(
    client: &mut TcpStream,
    answer: &Answer,
    fault: Fault,
    calm: &mut watch::Receiver<()>,
) -> io::Result<bool> {
    match fault {
        Fault::None => client.write_all(&answer.whole()).await?,
        Fault::Late(pause) => {
            tokio::time::sleep(pause).await;
            client.write_all(&answer.whole()).await?;
        }
        Fault::Reset(passed) => {
            client.write_all(&answer.part(passed)).await?;
            client.set_zero_linger()?;
            return Ok(false);
        }
        Fault::CutOff => {
            client.write_all(&answer.part(Passed::Half)).await?;
            return Ok(false);
        }
        Fault::Noise => {
            client.write_all(&crate::noise(600, 7)).await?;
            return Ok(false);
        }
        Fault::Portal => client.write_all(&Answer::portal().whole()).await?,
        Fault::Garbled => client.write_all(&answer.garbled().whole()).await?,
        Fault::Status(code, stay_away) => client.write_all(&Answer::error(code, stay_away).whole()).await?,
        Fault::Drip(pause) => {
            for piece in answer.whole().chunks(DROP_BYTES) {
                client.write_all(piece).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Fault::Silence(passed) => {
            client.write_all(&answer.part(passed)).await?;
            tokio::select! {
                gone = ignore(client) => gone?,
                _ = calm.changed() => client.set_zero_linger()?,
            }
            return Ok(false);
        }
    }
    Ok(answer.is_framed())
}

/// Reads until the client has gone.
async fn ignore(client: &mut TcpStream) -> io::Result<()> {
    let mut ignored = [0; 1024];
    while client.read(&mut ignored).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seed: u64) -> Vec<Fault> {
        let mix = vec![(3, Fault::None), (1, Fault::Noise), (2, Fault::Reset(Passed::Half))];
        let mut sky = Sky { mix, ..Sky::new(seed) };
        (0..1000).map(|_| sky.next()).collect()
    }

    #[test]
    fn a_schedule_is_that_of_its_seed_and_heeds_the_weights() {
        assert_eq!(schedule(1), schedule(1));
        assert_ne!(schedule(1), schedule(2));
        let noise = schedule(1).iter().filter(|fault| **fault == Fault::Noise).count();
        assert!((100..240).contains(&noise), "a sixth of 1000 is not {noise}");
    }

    #[test]
    fn without_a_mix_there_is_no_fault() {
        let mut sky = Sky::new(1);
        assert_eq!(sky.next(), Fault::None);
    }
}
