//! A private Redis on a unix socket, and the least client that can time one call of it.
//!
//! Synchronous and raw on purpose: what is measured is the script and one round trip.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with this value, and one connection to it.
pub struct Redis {
    /// Its replication id: the scripts of the line look at it.
    pub turn: String,
    process: Child,
    reader: BufReader<UnixStream>,
    _folder: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Redis {
    /// Starts a server without persistence.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts: `make setup` installs it");
        let deadline = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => panic!("no connection: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let reader = BufReader::new(stream);
        let mut redis = Self { turn: String::new(), process, reader, _folder: folder };
        let info = redis.call(&["INFO".to_owned(), "replication".to_owned()]);
        let turn = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        turn.expect("a replication id").trim().clone_into(&mut redis.turn);
        redis
    }

    /// Sends one command; answers the text of a simple answer, or of the first item of a list.
    pub fn call(&mut self, words: &[String]) -> String {
        self.send(words);
        let answer = self.answer();
        assert!(!answer.starts_with('-'), "{words:?}: {answer}");
        answer
    }

    /// A command of words parted by spaces, for what is not measured.
    pub fn run(&mut self, command: &str) {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        self.call(&words);
    }

    fn send(&mut self, words: &[String]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.reader.get_mut().write_all(&bytes).expect("Redis takes a command");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("Redis answers");
        let (kind, rest) = line.trim_end().split_at(1);
        let length = || rest.parse::<i64>().expect("a length");
        match kind {
            "$" if length() >= 0 => {
                let mut text = vec![0; usize::try_from(length()).expect("a length") + 2];
                self.reader.read_exact(&mut text).expect("Redis answers to the end");
                String::from_utf8_lossy(&text[..text.len() - 2]).into_owned()
            }
            "*" => {
                let items: Vec<String> = (0..length()).map(|_| self.answer()).collect();
                items.into_iter().next().unwrap_or_default()
            }
            "-" => line,
            _ => rest.to_owned(),
        }
    }
}
