//! Saying one command to a private Redis: for its upkeep, where the client library would be in the
//! way (it follows redirections and knows no Sentinel's commands).

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::UnixStream;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Says `words` on a connection of its own. The answer is every value of it as text, in order: lists
/// are flattened, and nil is the empty text.
pub(super) async fn ask(socket: &Path, words: &[&str]) -> anyhow::Result<Vec<String>> {
    let what = words.first().copied().unwrap_or_default();
    timeout(ANSWER_WITHIN, converse(socket, words))
        .await
        .with_context(|| format!("no answer to {what}"))?
        .with_context(|| format!("{what} at {}", socket.display()))
}

async fn converse(socket: &Path, words: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut stream = BufStream::new(UnixStream::connect(socket).await?);
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        write!(command, "${}\r\n{word}\r\n", word.len())?;
    }
    stream.write_all(command.as_bytes()).await?;
    stream.flush().await?;
    let mut values = Vec::new();
    let mut awaited = 1_usize;
    while awaited > 0 {
        awaited -= 1;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").context("the connection was closed")?;
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        match kind {
            "+" | ":" => values.push(rest.to_owned()),
            "-" => bail!("{rest}"),
            "$" | "*" if rest == "-1" => values.push(String::new()),
            "*" => awaited += rest.parse::<usize>()?,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                stream.read_exact(&mut bytes).await?;
                bytes.truncate(bytes.len() - 2);
                values.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            _ => bail!("{line:?} is no answer of Redis"),
        }
    }
    Ok(values)
}
