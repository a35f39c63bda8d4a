//! A TCP proxy in front of one target, whose behaviour can be switched while connections are open:
//! the network between a client and a server, as a test wants it.
//!
//! A connection that is held back (a delay, a black hole) loses nothing: what was sent arrives when
//! the proxy lets it, as it would after a network has healed. Not here: what the bytes mean.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How much is read at once in one direction.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where a proxy leads to.
#[derive(Debug, Clone)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What a proxy does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes at once.
    Pass,
    /// Everything passes, this much later in each direction.
    Delay(Duration),
    /// All connections are closed, and new ones at once.
    Refuse,
    /// Connections that are open now are reset; later ones pass.
    Reset,
    /// Connections stay open and are made, but nothing passes in these directions.
    BlackHole { to_target: bool, to_client: bool },
    /// Connections that are open now are reset instead of being given the next answer: the request
    /// has arrived and was acted upon, the answer is lost. Later ones pass.
    CutAnswers,
    /// Connections that are open now forward this many more bytes of their requests and are reset:
    /// a request that may have arrived or not, or in part. Later ones pass.
    CutRequests { after_bytes: usize },
}

/// The mode, and how often it was switched: a connection knows whether it is older.
#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToTarget,
    ToClient,
}

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed,
    Reset,
}

/// What a direction may do in this moment.
enum Order {
    Go {
        delay: Duration,
    },
    /// Forward this many bytes of requests, then reset.
    GoFor {
        bytes: usize,
    },
    /// Wait for an answer and reset when it comes.
    Swallow,
    Wait,
    End(Ending),
}

/// Words in answers, each with another one of the same length that is put in its place.
pub type Renames = Vec<(Vec<u8>, Vec<u8>)>;

/// Where connections lead that are made from now on.
#[derive(Clone)]
struct Route {
    target: Target,
    renames: Arc<Renames>,
}

/// A proxy on a port of its own. Dropping it closes the port and all connections.
pub struct Proxy {
    address: SocketAddr,
    route: Arc<Mutex<Route>>,
    state: watch::Sender<State>,
    open: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1; the target is asked at each connection, not before.
    pub async fn start(target: Target) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, states) = watch::channel(State { mode: Mode::Pass, era: 0 });
        let (open, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let route = Arc::new(Mutex::new(Route { target, renames: Arc::default() }));
        let link = Link {
            route: Arc::clone(&route),
            states,
            open: Arc::clone(&open),
            cut: Arc::clone(&cut),
        };
        let accepting = tokio::spawn(accept(listener, link));
        Ok(Self { address, route, state, open, cut, accepting })
    }

    /// Leads to `target` from now on, and resets the connections that lead elsewhere: an address
    /// that is given to another machine.
    pub fn lead_to(&self, target: Target) {
        self.route.lock().target = target;
        self.set(Mode::Reset);
    }

    /// Puts other words into the answers on connections that are made from now on: a server that
    /// tells where others are shall tell of the proxies in front of them. A word must come in one
    /// piece, as those in short answers do.
    ///
    /// # Panics
    ///
    /// If a word and the one in its place differ in length: what stands around them counts bytes.
    pub fn rename(&self, renames: Renames) {
        assert!(renames.iter().all(|(word, other)| word.len() == other.len()), "equal lengths");
        self.route.lock().renames = Arc::new(renames);
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches the behaviour of all connections.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| *state = State { mode, era: state.era + 1 });
    }

    /// What it does now.
    pub fn mode(&self) -> Mode {
        self.state.borrow().mode
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many connections have ended before their time so far, by its mode or a broken socket.
    pub fn connections_cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}

/// What every connection of a proxy shares.
#[derive(Clone)]
struct Link {
    route: Arc<Mutex<Route>>,
    states: watch::Receiver<State>,
    open: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
}

async fn accept(listener: TcpListener, link: Link) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An error here is of one connection, or of no more files: the next may do better.
                let Ok((client, _)) = accepted else { continue };
                let (link, open) = (link.clone(), Arc::clone(&link.open));
                open.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    link.serve(client).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Link {
    /// One connection from its begin to its end.
    async fn serve(&self, mut client: TcpStream) {
        let born = self.states.borrow().era;
        if self.states.borrow().mode == Mode::Refuse {
            self.cut.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let _ = client.set_nodelay(true);
        let Route { target, renames } = self.route.lock().clone();
        let ended = match target {
            Target::Tcp(address) => {
                let Ok(mut server) = TcpStream::connect(address).await else {
                    return reset(&client);
                };
                let _ = server.set_nodelay(true);
                // The server's side is closed in order, so that what was forwarded arrives.
                self.carry(born, renames, client.split(), server.split()).await
            }
            Target::Unix(path) => {
                let Ok(mut server) = UnixStream::connect(path).await else {
                    return reset(&client);
                };
                self.carry(born, renames, client.split(), server.split()).await
            }
        };
        if let Err(ending) = ended {
            self.cut.fetch_add(1, Ordering::Relaxed);
            if ending == Ending::Reset {
                reset(&client);
            }
        }
    }

    /// Carries bytes both ways until both sides have ended or the proxy ends it.
    async fn carry<CR, CW, SR, SW>(
        &self,
        born: u64,
        renames: Arc<Renames>,
        (client_reads, client_writes): (CR, CW),
        (server_reads, server_writes): (SR, SW),
    ) -> Result<(), Ending>
    where
        CR: AsyncRead + Unpin,
        CW: AsyncWrite + Unpin,
        SR: AsyncRead + Unpin,
        SW: AsyncWrite + Unpin,
    {
        let pump = |direction| Pump {
            direction,
            born,
            renames: if direction == Direction::ToClient {
                renames.clone()
            } else {
                Arc::default()
            },
            states: self.states.clone(),
            pending: BytesMut::new(),
            counted_in: born,
            counted: 0,
        };
        let (to_target, to_client) = (pump(Direction::ToTarget), pump(Direction::ToClient));
        tokio::try_join!(
            to_target.run(client_reads, server_writes),
            to_client.run(server_reads, client_writes),
        )?;
        Ok(())
    }
}

/// Makes the coming close of a socket a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Puts the other words in their places.
fn rename(bytes: &mut [u8], renames: &Renames) {
    for (word, other) in renames {
        let at = |bytes: &[u8]| bytes.windows(word.len()).position(|window| window == word);
        while let Some(at) = at(bytes) {
            bytes[at..at + word.len()].copy_from_slice(other);
        }
    }
}

/// One direction of one connection.
struct Pump {
    direction: Direction,
    /// The era in which the connection was made.
    born: u64,
    renames: Arc<Renames>,
    states: watch::Receiver<State>,
    /// Read and not yet written.
    pending: BytesMut,
    /// The bytes forwarded since the era `counted_in` began.
    counted_in: u64,
    counted: usize,
}

impl Pump {
    fn order(&mut self) -> Order {
        let State { mode, era } = *self.states.borrow_and_update();
        if self.counted_in != era {
            (self.counted_in, self.counted) = (era, 0);
        }
        let older = self.born < era;
        let pass = Order::Go { delay: Duration::ZERO };
        match (mode, self.direction) {
            (Mode::Delay(delay), _) => Order::Go { delay },
            (Mode::Refuse, _) => Order::End(Ending::Closed),
            (Mode::Reset, _) if older => Order::End(Ending::Reset),
            (Mode::BlackHole { to_target: true, .. }, Direction::ToTarget)
            | (Mode::BlackHole { to_client: true, .. }, Direction::ToClient) => Order::Wait,
            (Mode::CutAnswers, Direction::ToClient) if older => Order::Swallow,
            (Mode::CutRequests { after_bytes }, Direction::ToTarget) if older => {
                Order::GoFor { bytes: after_bytes.saturating_sub(self.counted) }
            }
            _ => pass,
        }
    }

    /// Carries bytes until the reading side ends; an error of a socket is an end too.
    async fn run<R, W>(mut self, mut from: R, mut to: W) -> Result<(), Ending>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            let (delay, most) = match self.order() {
                Order::Go { delay } => (delay, usize::MAX),
                Order::GoFor { bytes: 0 } => return Err(Ending::Reset),
                Order::GoFor { bytes } => (Duration::ZERO, bytes),
                Order::Swallow if !self.pending.is_empty() => return Err(Ending::Reset),
                Order::Swallow => (Duration::ZERO, 0),
                Order::Wait => {
                    self.switched().await?;
                    continue;
                }
                Order::End(ending) => return Err(ending),
            };
            if self.pending.is_empty() {
                self.pending.reserve(CHUNK_BYTES);
                tokio::select! {
                    switched = self.states.changed() => switched.map_err(|_| Ending::Closed)?,
                    read = from.read_buf(&mut self.pending) => match read {
                        // The end of this direction; the other one may have something to say yet.
                        Ok(0) => {
                            let _ = to.shutdown().await;
                            return Ok(());
                        }
                        Ok(_) => rename(&mut self.pending, &self.renames),
                        Err(_) => return Err(Ending::Reset),
                    },
                }
                // The mode may have changed while nothing came; ask again what to do with it.
                if delay.is_zero() || self.pending.is_empty() {
                    continue;
                }
                tokio::select! {
                    switched = self.states.changed() => {
                        switched.map_err(|_| Ending::Closed)?;
                        continue;
                    }
                    () = tokio::time::sleep(delay) => {}
                }
            }
            self.write(&mut to, most).await?;
        }
    }

    /// Writes what is pending, `most` bytes of it at most, or less if the mode changes meanwhile.
    async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        most: usize,
    ) -> Result<(), Ending> {
        let length = self.pending.len().min(most);
        let mut part = self.pending.split_to(length);
        while !part.is_empty() {
            tokio::select! {
                switched = self.states.changed() => {
                    switched.map_err(|_| Ending::Closed)?;
                    break;
                }
                written = to.write_buf(&mut part) => match written {
                    Ok(count) => self.counted += count,
                    Err(_) => return Err(Ending::Reset),
                },
            }
        }
        // What was not written comes first, in the order in which it was read.
        part.unsplit(std::mem::take(&mut self.pending));
        self.pending = part;
        Ok(())
    }

    async fn switched(&mut self) -> Result<(), Ending> {
        // The proxy is gone.
        self.states.changed().await.map_err(|_| Ending::Closed)
    }
}
