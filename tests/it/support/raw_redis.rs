//! A plain connection to Redis for seeding and reading back: any command, no guard.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Nil,
    Int(i64),
    Text(String),
    Error(String),
    List(Vec<Answer>),
}

impl Answer {
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            Self::Text(text) => text.parse().expect("a number"),
            other => panic!("no number: {other:?}"),
        }
    }

    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().map(|item| item.text().to_owned()).collect(),
            other => panic!("no list: {other:?}"),
        }
    }

    /// A flat list of pairs (HGETALL, ZRANGE … WITHSCORES) as a map.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        self.texts().chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }
}

/// One connection that speaks RESP2 over a unix socket.
pub struct RawRedis {
    stream: BufStream<UnixStream>,
}

impl RawRedis {
    /// The shared Redis of this test process.
    pub async fn shared() -> Self {
        Self::connect(super::stores().await.redis.socket()).await
    }

    pub async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await.expect("Redis listens");
        Self { stream: BufStream::new(stream) }
    }

    /// Sends a command whose words are separated by spaces.
    pub async fn say(&mut self, line: &str) -> Answer {
        let words: Vec<&str> = line.split(' ').collect();
        self.send(&words).await
    }

    /// How often each command was called, those of scripts included.
    pub async fn calls(&mut self) -> BTreeMap<String, u64> {
        let told = self.say("INFO commandstats").await.text().to_owned();
        let count = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        told.lines().filter_map(count).collect()
    }

    /// Sends a command, word by word.
    pub async fn send<W: AsRef<str>>(&mut self, words: &[W]) -> Answer {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            let word = word.as_ref();
            let _ = write!(command, "${}\r\n{word}\r\n", word.len());
        }
        self.stream.write_all(command.as_bytes()).await.expect("Redis reads");
        self.stream.flush().await.expect("Redis reads");
        self.answer().await
    }

    async fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.expect("Redis answers");
        assert!(line.ends_with("\r\n"), "Redis closed the connection");
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" => Answer::Text(rest.to_owned()),
            "-" => Answer::Error(rest.to_owned()),
            ":" => Answer::Int(rest.parse().expect("an integer")),
            "$" | "*" if rest == "-1" => Answer::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().expect("a length") + 2];
                self.stream.read_exact(&mut bytes).await.expect("Redis answers");
                bytes.truncate(bytes.len() - 2);
                Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => {
                let mut items = Vec::new();
                for _ in 0..rest.parse::<usize>().expect("a length") {
                    items.push(Box::pin(self.answer()).await);
                }
                Answer::List(items)
            }
            _ => panic!("no RESP2: {line:?}"),
        }
    }
}
