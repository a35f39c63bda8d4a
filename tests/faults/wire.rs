//! A plain connection to one Redis, for faults, samples and final reads: any command, and every
//! trouble is an error, because trouble is what the run makes.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// An answer of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Int(i64),
    Bytes(Vec<u8>),
    Error(String),
    List(Vec<Reply>),
}

impl Reply {
    /// A number, also one that came as text.
    pub fn int(&self) -> io::Result<i64> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::Bytes(_) => self.text()?.parse().map_err(|_| self.unexpected()),
            _ => Err(self.unexpected()),
        }
    }

    /// A text.
    pub fn text(&self) -> io::Result<String> {
        match self {
            Self::Bytes(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            _ => Err(self.unexpected()),
        }
    }

    /// A list of texts.
    pub fn texts(&self) -> io::Result<Vec<String>> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            _ => Err(self.unexpected()),
        }
    }

    /// A list of counts.
    pub fn counts(&self) -> io::Result<Vec<u64>> {
        let count = |item: &Self| u64::try_from(item.int()?).map_err(|_| item.unexpected());
        match self {
            Self::List(items) => items.iter().map(count).collect(),
            _ => Err(self.unexpected()),
        }
    }

    /// A flat list of pairs (HGETALL, ZRANGE … WITHSCORES).
    pub fn pairs(&self) -> io::Result<Vec<(String, String)>> {
        let texts = self.texts()?;
        Ok(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }

    fn unexpected(&self) -> io::Error {
        io::Error::other(format!("an unexpected answer of Redis: {self:?}"))
    }
}

/// One connection that speaks RESP2 over a unix socket.
pub struct Wire {
    stream: BufStream<UnixStream>,
}

impl Wire {
    /// Connects.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        let stream = timeout(ANSWER_MAX, UnixStream::connect(socket)).await??;
        Ok(Self { stream: BufStream::new(stream) })
    }

    /// Sends a command, word by word. An error of Redis is an answer.
    pub async fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<Reply> {
        self.write(words).await?;
        self.stream.flush().await?;
        self.read().await
    }

    /// Sends a command whose words are separated by spaces.
    pub async fn say(&mut self, line: &str) -> io::Result<Reply> {
        let words: Vec<&str> = line.split(' ').collect();
        self.send(&words).await
    }

    /// Adds a command to those that the next [`Self::read`]s answer.
    pub async fn write<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            command.extend(format!("${}\r\n", word.len()).into_bytes());
            command.extend(word);
            command.extend(b"\r\n");
        }
        self.stream.write_all(&command).await
    }

    /// Sends what was written and reads one answer.
    pub async fn read(&mut self) -> io::Result<Reply> {
        self.stream.flush().await?;
        timeout(ANSWER_MAX, self.reply()).await?
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let Some((kind, rest)) =
            line.strip_suffix("\r\n").and_then(|line| line.split_at_checked(1))
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            "+" => Reply::Bytes(rest.as_bytes().to_vec()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Int(number()?),
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" => {
                let length = usize::try_from(number()?).map_err(io::Error::other)?;
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Reply::Bytes(bytes)
            }
            _ => {
                let mut items = Vec::new();
                for _ in 0..number()? {
                    items.push(Box::pin(self.reply()).await?);
                }
                Reply::List(items)
            }
        })
    }
}
