//! `onsale verify`: checks the order of a lottery from public data alone.
//!
//! It needs no configuration, no store and no secret: whoever has the answer of
//! `GET /concert/{id}/fairness` can run it, and compare with other implementations of
//! `docs/fairness.md`.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::Failure;
use crate::queue::Token;
use crate::queue::draw::Proof;
use crate::queue::draw::proof::{Checked, Rank};

/// The largest answer that is read: a million ranges would fit.
const PROOF_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most people whose order is computed: 8 bytes each, and whoever wrote the answer says how many.
const PEOPLE_MAX: u64 = 50_000_000;
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be checked.
#[derive(Debug)]
pub struct Question {
    /// An `http://` URL, a file, or `-` for the standard input.
    pub source: String,
    /// Whose rank is asked for, by token.
    pub token: Option<String>,
    /// Whose rank is asked for, by number.
    pub place: Option<u64>,
}

/// Checks, and says what was found.
///
/// # Errors
///
/// If the data cannot be read, or the proof does not hold.
pub async fn command(question: Question) -> Result<(), Failure> {
    let text = read(&question.source).await?;
    let proof: Proof = serde_json::from_str(&text).context("this is no answer of /fairness")?;
    let place = place(&question, &proof)?;
    // That there are not more people in `segments` than this is part of the check.
    let people = proof.draw.as_ref().and_then(|draw| draw.people).unwrap_or(0);
    if people > PEOPLE_MAX {
        let why = anyhow!("{people} people were drawn, and this checks at most {PEOPLE_MAX}");
        return Err(Failure::Other(why));
    }
    let checked = proof.check().map_err(anyhow::Error::new)?;
    print!("{}", report(&proof, &checked, place));
    Ok(())
}

fn place(question: &Question, proof: &Proof) -> anyhow::Result<Option<u64>> {
    let Some(text) = &question.token else {
        return Ok(question.place);
    };
    let token =
        Token::unverified(text).context("the token is not of the form <uuid>_<position>")?;
    if token.concert.get() != proof.concert_id {
        bail!("the token is for concert {}, not {}", token.concert, proof.concert_id);
    }
    Ok(Some(token.place.get()))
}

/// What was proved, in sentences.
fn report(proof: &Proof, checked: &Checked, place: Option<u64>) -> String {
    let people = checked.people();
    let mut lines = vec![format!(
        "Concert {}: the order of {people} people is the one that the committed seed makes.",
        proof.concert_id
    )];
    let beacon = proof
        .draw
        .as_ref()
        .and_then(|draw| draw.beacon_round.as_ref().zip(draw.beacon_value.as_ref()));
    lines.push(match beacon {
        Some((round, value)) => format!(
            "Beacon {round:?}: compare the value {value} with the one published there. If that \
             round came after the draw was frozen, nobody could know the order before."
        ),
        None => "There is no beacon: this shows that nobody changed the order after the \
                 commitment, not that the operator did not know it."
            .to_owned(),
    });
    if let Some(correlation) = checked.correlation() {
        lines.push(format!("Correlation between arrival and rank: {correlation:.4}."));
    }
    lines.extend(place.map(|place| match checked.rank_of(place) {
        Rank::Drawn(rank) => format!("Place {place} has rank {rank} of {people}."),
        Rank::Behind => format!("Place {place} came after the draw: behind all {people}."),
        Rank::Absent => format!("Place {place} took no part in the draw."),
    }));
    lines.push("Whoever came later stands behind them, in order of arrival.".to_owned());
    lines.into_iter().map(|line| line + "\n").collect()
}

async fn read(source: &str) -> anyhow::Result<String> {
    if source.starts_with("https://") {
        bail!("fetch it with a tool that speaks TLS: curl {source} | onsale verify -");
    }
    if source.starts_with("http://") {
        return fetch(source).await.with_context(|| format!("{source} cannot be read"));
    }
    if source == "-" {
        return bounded(std::io::stdin()).context("the standard input cannot be read");
    }
    let text = File::open(source).map_err(anyhow::Error::new).and_then(bounded);
    text.with_context(|| format!("{source} cannot be read"))
}

/// All of it, unless it is too long.
fn bounded(source: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    source.take(PROOF_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    text_of(bytes)
}

fn text_of(bytes: Vec<u8>) -> anyhow::Result<String> {
    if bytes.len() > PROOF_BYTES_MAX {
        bail!("it is longer than {PROOF_BYTES_MAX} bytes");
    }
    String::from_utf8(bytes).context("it is no text")
}

async fn fetch(url: &str) -> anyhow::Result<String> {
    let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let mut answer = http.get(url).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > PROOF_BYTES_MAX {
            break;
        }
    }
    text_of(body)
}
