//! Reading `concerts.toml`: strict, and all faults at once.

use std::collections::HashSet;

use chrono::{DateTime, FixedOffset, NaiveDate};
use chrono_tz::Tz;
use serde::Deserialize;

use super::{Concert, Prequeue};
use crate::redis::ConcertKeys;
use crate::words::{ConcertId, OutOfRange, SeatNumber, Won};

/// The demo catalogue of `onsale dev`, in the form of the file.
pub const DEMO: &str = include_str!("../../concerts.toml");

/// One mistake of a catalogue, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CatalogueFault(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    concert: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: i64,
    name: String,
    dates: Vec<String>,
    seats: i64,
    price: i64,
    time_zone: String,
    opens_at: Option<String>,
    closes_at: Option<String>,
    prequeue: Option<String>,
    beacon_round: Option<String>,
    capacity: Option<i64>,
    batch: Option<i64>,
}

/// Reads a catalogue.
///
/// # Errors
///
/// Every mistake that was found, each naming the concert, the field, the value and what is allowed.
pub fn parse(text: &str) -> Result<Vec<Concert>, Vec<CatalogueFault>> {
    let file: File = toml::from_str(text)
        .map_err(|error| vec![CatalogueFault(error.to_string().trim_end().to_owned())])?;
    let mut faults = Faults::default();
    if file.concert.is_empty() {
        faults.add("the catalogue has no [[concert]]".to_owned());
    }
    let mut ids = HashSet::new();
    let mut concerts = Vec::with_capacity(file.concert.len());
    for entry in file.concert {
        if !ids.insert(entry.id) {
            faults.add(format!("concert {}: this id is used twice", entry.id));
        }
        concerts.extend(entry.check(&mut faults));
    }
    if faults.found.is_empty() { Ok(concerts) } else { Err(faults.found) }
}

#[derive(Default)]
struct Faults {
    found: Vec<CatalogueFault>,
}

impl Faults {
    fn add(&mut self, fault: String) {
        self.found.push(CatalogueFault(fault));
    }

    fn keep<T>(&mut self, concert: i64, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|fault| self.add(format!("concert {concert}: {field}: {fault}"))).ok()
    }
}

impl Entry {
    fn check(self, faults: &mut Faults) -> Option<Concert> {
        let id = self.id;
        let ranged = |error: OutOfRange| error.to_string();
        let concert_id = faults.keep(id, "id", ConcertId::try_from(i128::from(id)).map_err(ranged));
        let seats =
            faults.keep(id, "seats", SeatNumber::try_from(i128::from(self.seats)).map_err(ranged));
        let price = faults.keep(id, "price", Won::try_from(i128::from(self.price)).map_err(ranged));
        let time_zone = faults.keep(id, "time_zone", parse_zone(&self.time_zone));
        let dates = faults.keep(id, "dates", parse_dates(&self.dates));
        let moment = |text: Option<&str>| text.map(parse_moment).transpose();
        let opens_at = faults.keep(id, "opens_at", moment(self.opens_at.as_deref()));
        let closes_at = faults.keep(id, "closes_at", moment(self.closes_at.as_deref()));
        if let (Some(Some(opens)), Some(Some(closes))) = (opens_at, closes_at)
            && closes <= opens
        {
            faults.add(format!("concert {id}: closes_at: must be later than opens_at"));
        }
        let prequeue = parse_prequeue(self.prequeue.as_deref(), self.beacon_round);
        let prequeue = faults.keep(id, "prequeue", prequeue);
        if opens_at == Some(None) && matches!(prequeue, Some(Prequeue::Lottery { .. })) {
            faults.add(format!("concert {id}: prequeue: a lottery needs opens_at"));
        }
        let capacity = faults.keep(id, "capacity", parse_knob(self.capacity, 10_000_000));
        let batch = faults.keep(id, "batch", parse_knob(self.batch, 1_000_000));
        if self.name.trim().is_empty() {
            faults.add(format!("concert {id}: name: must not be empty"));
        }
        let concert_id = concert_id?;
        Some(Concert {
            id: concert_id,
            name: self.name,
            dates: dates?,
            seats: seats?,
            price: price?,
            time_zone: time_zone?,
            opens_at: opens_at?,
            closes_at: closes_at?,
            prequeue: prequeue?,
            capacity: capacity?,
            batch: batch?,
            keys: ConcertKeys::new(concert_id),
        })
    }
}

fn parse_zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IANA time zone like \"Asia/Seoul\""))
}

fn parse_dates(texts: &[String]) -> Result<Vec<NaiveDate>, String> {
    if texts.is_empty() || texts.len() > Concert::DATES_MAX {
        return Err(format!("1 to {} dates are allowed, not {}", Concert::DATES_MAX, texts.len()));
    }
    let mut dates = Vec::with_capacity(texts.len());
    for text in texts {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .filter(|date| date.format("%Y-%m-%d").to_string() == *text)
            .ok_or_else(|| format!("{text:?} is not a date YYYY-MM-DD"))?;
        dates.push(date);
    }
    dates.sort_unstable();
    match dates.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{} is named twice", pair[0])),
        None => Ok(dates),
    }
}

fn parse_moment(text: &str) -> Result<DateTime<FixedOffset>, String> {
    DateTime::parse_from_rfc3339(text)
        .map_err(|_| format!("{text:?} is not a moment like \"2030-11-01T20:00:00+09:00\""))
}

fn parse_prequeue(text: Option<&str>, beacon_round: Option<String>) -> Result<Prequeue, String> {
    let max = Prequeue::ROUND_CHARACTERS_MAX;
    let is_plain = |round: &String| {
        (1..=max).contains(&round.len())
            && round.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    };
    match (text, beacon_round) {
        (None | Some("fifo"), None) => Ok(Prequeue::Fifo),
        (None | Some("fifo"), Some(_)) => Err("beacon_round is for a lottery".to_owned()),
        (Some("lottery"), round) if round.as_ref().is_none_or(is_plain) => {
            Ok(Prequeue::Lottery { beacon_round: round })
        }
        (Some("lottery"), _) => Err(format!("beacon_round must be 1 to {max} plain characters")),
        (Some(other), _) => Err(format!("{other:?} is neither \"fifo\" nor \"lottery\"")),
    }
}

fn parse_knob(value: Option<i64>, max: u32) -> Result<Option<u32>, String> {
    match value.map(u32::try_from) {
        None => Ok(None),
        Some(Ok(value)) if (1..=max).contains(&value) => Ok(Some(value)),
        Some(_) => Err(format!("must be 1 to {max}, not {}", value.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_catalogue_is_valid() {
        let concerts = parse(DEMO).expect("the demo catalogue");
        assert_eq!(concerts.first().map(|concert| concert.id.get()), Some(1));
    }

    #[test]
    fn all_faults_are_reported_at_once_with_their_values() {
        let text = r#"
            [[concert]]
            id = 0
            name = " "
            dates = ["2025-02-29", "2030-01-01"]
            seats = 100001
            price = -1
            time_zone = "Mars/Base"
            opens_at = "tomorrow"
            capacity = 0
        "#;
        let faults = parse(text).expect_err("eight mistakes");
        let all = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(all, @r#"
        concert 0: id: a concert id must be 1 to 4194303, not 0
        concert 0: seats: a seat number must be 1 to 100000, not 100001
        concert 0: price: an amount of money must be 0 to 1000000000000, not -1
        concert 0: time_zone: "Mars/Base" is not an IANA time zone like "Asia/Seoul"
        concert 0: dates: "2025-02-29" is not a date YYYY-MM-DD
        concert 0: opens_at: "tomorrow" is not a moment like "2030-11-01T20:00:00+09:00"
        concert 0: capacity: must be 1 to 10000000, not 0
        concert 0: name: must not be empty
        "#);
    }

    #[test]
    fn a_sale_that_ends_before_it_opens_is_refused() {
        let sale = |closes_at: &str| {
            let fields = r#"id = 1
                name = "A"
                dates = ["2030-01-01"]
                seats = 1
                price = 1
                time_zone = "UTC"
                opens_at = "2029-12-01T20:00:00+09:00""#;
            parse(&format!("[[concert]]\n{fields}\ncloses_at = \"{closes_at}\""))
        };
        let concert = &sale("2029-12-01T11:00:01Z").expect("a second of sale")[0];
        assert_eq!(concert.closes_at_ms() - concert.opens_at_ms(), 1000);
        let faults = sale("2029-12-01T11:00:00Z").expect_err("no sale at all");
        assert_eq!(faults[0].to_string(), "concert 1: closes_at: must be later than opens_at");
        assert!(sale("tomorrow").is_err());
    }

    #[test]
    fn a_pre_line_is_first_come_first_served_or_a_lottery_with_an_opening() {
        let concert = |more: &str| {
            let fields = r#"id = 1
                name = "A"
                dates = ["2030-01-01"]
                seats = 1
                price = 1
                time_zone = "UTC""#;
            parse(&format!("[[concert]]\n{fields}\n{more}"))
        };
        let opens = "opens_at = \"2029-12-01T20:00:00+09:00\"\n";
        let prequeue =
            |more: &str| concert(&format!("{opens}{more}")).expect("a concert")[0].prequeue.clone();
        assert_eq!(prequeue(""), Prequeue::Fifo);
        assert_eq!(prequeue("prequeue = \"fifo\""), Prequeue::Fifo);
        let none = Prequeue::Lottery { beacon_round: None };
        assert_eq!(prequeue("prequeue = \"lottery\""), none);
        let round = Some("drand quicknet 30000000".to_owned());
        let with_beacon = "prequeue = \"lottery\"\nbeacon_round = \"drand quicknet 30000000\"";
        assert_eq!(prequeue(with_beacon), Prequeue::Lottery { beacon_round: round });
        for wrong in [
            "prequeue = \"lottery\"".to_owned(),
            format!("{opens}prequeue = \"raffle\""),
            format!("{opens}beacon_round = \"1\""),
            format!("{opens}prequeue = \"lottery\"\nbeacon_round = \"\""),
            format!("{opens}prequeue = \"lottery\"\nbeacon_round = \"a\\nb\""),
        ] {
            assert_eq!(concert(&wrong).expect_err("a mistake").len(), 1, "{wrong}");
        }
    }

    #[test]
    fn an_unknown_field_and_a_second_use_of_an_id_are_refused() {
        let concert = r#"
            [[concert]]
            id = 1
            name = "A"
            dates = ["2030-01-01"]
            seats = 1
            price = 1
            time_zone = "UTC"
        "#;
        assert!(parse(&format!("{concert}\ncolour = \"red\"")).is_err());
        let faults = parse(&format!("{concert}{concert}")).expect_err("the id is used twice");
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn a_date_ends_at_midnight_in_the_concerts_zone() {
        let concert = &parse(DEMO).expect("the demo catalogue")[0];
        let end_ms = concert.date_ends_ms(concert.dates[0]);
        assert!(concert.bookable_dates(end_ms - 1).any(|date| date == concert.dates[0]));
        assert!(concert.bookable_dates(end_ms).all(|date| date != concert.dates[0]));
        assert!(concert.local_time(end_ms).ends_with(" 00:00:00"));
    }
}
