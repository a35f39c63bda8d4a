//! The proxy that tests put on a link does what its modes say, also to connections that are open.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::support::eventually;
use crate::support::proxy::{Mode, Proxy, Target};

/// Long enough to say that nothing comes, short enough to wait for.
const A_WHILE: Duration = Duration::from_millis(150);

/// A proxy to a server that answers every word with the same word, and tells what it has read.
struct Echo {
    proxy: Proxy,
    heard: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let target = Target::Tcp(listener.local_addr().expect("an address"));
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream, tell.clone()));
            }
        });
        Self { proxy: Proxy::start(target).await.expect("a proxy"), heard }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.expect("the proxy listens")
    }

    /// A connection over which a word has gone and come back.
    async fn connected(&mut self) -> TcpStream {
        let mut stream = self.connect().await;
        assert_eq!(say(&mut stream, "hello").await.expect("an answer"), "hello");
        assert_eq!(self.heard.recv().await.expect("it was heard"), b"hello");
        stream
    }
}

async fn echo<S>(mut stream: S, tell: mpsc::UnboundedSender<Vec<u8>>)
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let _ = tell.send(buffer[..length].to_vec());
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn hear(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

async fn say(stream: &mut TcpStream, word: &str) -> std::io::Result<String> {
    stream.write_all(word.as_bytes()).await?;
    hear(stream).await
}

/// Whether the connection was reset, and not closed or left open.
async fn is_reset(stream: &mut TcpStream) -> bool {
    let heard = timeout(Duration::from_secs(5), hear(stream)).await.expect("an end");
    heard.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn an_address_that_is_given_to_another_server_leads_there_and_old_connections_end() {
    let (mut first, mut second) = (Echo::start().await, Echo::start().await);
    let mut stream = first.connected().await;
    first.proxy.lead_to(Target::Tcp(second.proxy.address()));
    let ended = say(&mut stream, "more").await.expect_err("it is reset");
    assert!(matches!(ended.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{ended}");
    let mut stream = first.connect().await;
    assert_eq!(say(&mut stream, "again").await.expect("an answer"), "again");
    assert_eq!(second.heard.recv().await.expect("it was heard"), b"again");
    first.heard.try_recv().expect_err("the old one has heard nothing of it");
}

#[tokio::test]
async fn addresses_in_answers_are_those_of_the_proxies_in_front_of_them() {
    let mut echo = Echo::start().await;
    echo.proxy.rename(vec![(b":7001@".to_vec(), b":9001@".to_vec())]);
    let mut stream = echo.connected().await;
    let answer = say(&mut stream, "a:7001@ b:7001@ 7001").await.expect("an answer");
    assert_eq!(answer, "a:9001@ b:9001@ 7001");
    let heard = echo.heard.recv().await.expect("it was heard");
    assert_eq!(heard, b"a:7001@ b:7001@ 7001", "what is sent stays as it is");
}

#[tokio::test]
async fn what_passes_arrives_unchanged_and_an_end_is_passed_on() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    assert_eq!(echo.proxy.mode(), Mode::Pass);
    assert_eq!(echo.proxy.connections(), 1);
    stream.shutdown().await.expect("an end");
    assert_eq!(hear(&mut stream).await.expect("the other end"), "");
    eventually("the connection is gone", || async { echo.proxy.connections() == 0 }).await;
    assert_eq!(echo.proxy.connections_cut(), 0, "it ended by itself");
}

#[tokio::test]
async fn a_unix_socket_can_be_the_target() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (tell, _heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        echo(stream, tell).await;
    });
    let proxy = Proxy::start(Target::Unix(path)).await.expect("a proxy");
    let mut stream = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
    assert_eq!(say(&mut stream, "hello").await.expect("an answer"), "hello");
}

#[tokio::test]
async fn a_target_that_is_away_is_a_reset_and_its_return_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("echo.sock");
    let proxy = Proxy::start(Target::Unix(path.clone())).await.expect("a proxy");
    let mut stream = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
    assert!(is_reset(&mut stream).await);
    let listener = UnixListener::bind(&path).expect("a socket");
    let _stream = TcpStream::connect(proxy.address()).await.expect("the proxy listens");
    listener.accept().await.expect("the next connection arrives");
}

#[tokio::test]
async fn a_delay_is_there_in_both_directions_and_goes_when_it_is_switched_off() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    let delay = Duration::from_millis(100);
    echo.proxy.set(Mode::Delay(delay));
    let asked = Instant::now();
    assert_eq!(say(&mut stream, "late").await.expect("an answer"), "late");
    assert!(asked.elapsed() >= 2 * delay, "there and back");
    echo.proxy.set(Mode::Delay(Duration::from_hours(1)));
    stream.write_all(b"later").await.expect("it is taken");
    assert!(timeout(A_WHILE, hear(&mut stream)).await.is_err());
    echo.proxy.set(Mode::Pass);
    assert_eq!(hear(&mut stream).await.expect("an answer"), "later");
}

#[tokio::test]
async fn refusing_closes_what_is_open_and_what_comes_until_it_passes_again() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    echo.proxy.set(Mode::Refuse);
    assert_eq!(hear(&mut stream).await.expect("the end"), "");
    let mut another = echo.connect().await;
    assert_eq!(hear(&mut another).await.expect("the end"), "");
    assert_eq!(echo.proxy.connections_cut(), 2);
    echo.proxy.set(Mode::Pass);
    echo.connected().await;
}

#[tokio::test]
async fn a_reset_hits_the_connections_that_are_open_and_no_later_one() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    echo.proxy.set(Mode::Reset);
    assert!(is_reset(&mut stream).await);
    echo.connected().await;
}

#[tokio::test]
async fn a_black_hole_keeps_requests_back_and_loses_none() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    echo.proxy.set(Mode::BlackHole { to_target: true, to_client: true });
    stream.write_all(b"one").await.expect("it is taken");
    let mut another = echo.connect().await;
    another.write_all(b"two").await.expect("a new one is taken too");
    assert!(timeout(A_WHILE, echo.heard.recv()).await.is_err(), "nothing passes");
    echo.proxy.set(Mode::Pass);
    assert_eq!(hear(&mut stream).await.expect("an answer"), "one");
    assert_eq!(hear(&mut another).await.expect("an answer"), "two");
}

#[tokio::test]
async fn a_black_hole_for_answers_lets_requests_arrive() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    echo.proxy.set(Mode::BlackHole { to_target: false, to_client: true });
    stream.write_all(b"one").await.expect("it is taken");
    assert_eq!(echo.heard.recv().await.expect("it was heard"), b"one");
    assert!(timeout(A_WHILE, hear(&mut stream)).await.is_err(), "no answer passes");
    echo.proxy.set(Mode::Pass);
    assert_eq!(hear(&mut stream).await.expect("an answer"), "one");
}

#[tokio::test]
async fn a_cut_answer_was_given_to_a_request_that_arrived() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    echo.proxy.set(Mode::CutAnswers);
    stream.write_all(b"do it").await.expect("it is taken");
    assert!(is_reset(&mut stream).await);
    assert_eq!(echo.heard.recv().await.expect("it was heard"), b"do it");
    // The repeat, on a connection that was made later.
    echo.connected().await;
}

#[tokio::test]
async fn a_cut_request_arrives_in_part() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connected().await;
    echo.proxy.set(Mode::CutRequests { after_bytes: 4 });
    stream.write_all(b"half of it").await.expect("it is taken");
    assert_eq!(echo.heard.recv().await.expect("it was heard"), b"half");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() <= 4, "only what arrived may have been answered: {answer:?}");
    assert!(timeout(A_WHILE, echo.heard.recv()).await.is_err(), "no more arrives");
}
