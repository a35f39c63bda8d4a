//! What was measured, round by round.

use serde::Serialize;

use super::routes::Sample;

/// Values of one figure over the rounds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Adds the value of one round.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds the value of one round, if there is one.
    pub fn extend(&mut self, value: Option<f64>) {
        self.0.extend(value);
    }

    /// The entry with this name, made if it is new.
    pub fn of<'a>(named: &'a mut Vec<(String, Self)>, name: &str) -> &'a mut Self {
        let index = named.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            named.push((name.to_owned(), Self::default()));
            named.len() - 1
        });
        &mut named[index].1
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle value; of an even number of values the greater of the two.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn greatest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// `median (least–greatest)`.
    pub fn show(&self, digits: usize) -> String {
        let (median, least, greatest) = (self.median(), self.least(), self.greatest());
        format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
    }
}

/// A route with one number of connections.
#[derive(Debug, Serialize)]
pub struct RouteRow {
    /// As in [`super::journey`].
    pub name: String,
    /// Open and busy ones.
    pub connections: usize,
    pub rate: Spread,
    pub bare_rate: Spread,
    pub share: Spread,
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub p999_us: Spread,
    pub redis_us: Spread,
    pub redis_commands: Spread,
    pub server_us: Spread,
    pub bare_us: Spread,
    pub generator_us: Spread,
    pub server_mb: Spread,
    /// Of what PostgreSQL can do of its statement, if it was compared with that.
    pub statement_share: Spread,
    /// Answers of another status than expected.
    pub errors: usize,
}

impl RouteRow {
    /// A row without figures.
    pub fn new(name: &str, connections: usize) -> Self {
        let none = Spread::default;
        Self {
            name: name.to_owned(),
            connections,
            rate: none(),
            bare_rate: none(),
            share: none(),
            p50_us: none(),
            p99_us: none(),
            p999_us: none(),
            redis_us: none(),
            redis_commands: none(),
            server_us: none(),
            bare_us: none(),
            generator_us: none(),
            server_mb: none(),
            statement_share: none(),
            errors: 0,
        }
    }

    /// Adds one measurement.
    pub fn take(&mut self, sample: &Sample) {
        let [p50, p99, p999] = sample.latency_us;
        for (spread, value) in [
            (&mut self.rate, sample.rate),
            (&mut self.bare_rate, sample.bare_rate),
            (&mut self.share, sample.rate / sample.bare_rate),
            (&mut self.p50_us, p50),
            (&mut self.p99_us, p99),
            (&mut self.p999_us, p999),
            (&mut self.redis_us, sample.redis_us),
            (&mut self.redis_commands, sample.redis_commands),
            (&mut self.server_us, sample.server_us),
            (&mut self.bare_us, sample.bare_us),
            (&mut self.generator_us, sample.generator_us),
            (&mut self.server_mb, sample.server_mb),
        ] {
            spread.push(value);
        }
        self.errors += sample.errors;
    }
}
