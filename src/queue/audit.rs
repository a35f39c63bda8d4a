//! The notes of what operators did: the stream `{c<id>}:audit`. The script that does something notes
//! it in the same step, so the notes are complete and in order.

use std::collections::HashMap;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Queue, QueueError};
use crate::concerts::Concert;
use crate::words::ConcertDate;

/// One thing that an operator did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When, by Redis' clock.
    at: DateTime<Utc>,
    /// `X-Request-Id` of the request.
    request: String,
    /// `changed` a setting, or which seats are withheld, `cleared` the line, or `released` a person's hold.
    action: String,
    /// `capacity`, `batch`, `paused`, `message`, `opens_at`, `closes_at` or `beacon`; or `withheld`,
    /// with a date and its seats that were taken out of the sale, or given back; none unless one was
    /// changed.
    setting: Option<String>,
    /// What it was; none if the servers' configuration held.
    before: Option<String>,
    /// What it became.
    after: Option<String>,
    /// How many lost their place when the line was cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
    /// Of a seat.
    #[schema(value_type = Option<chrono::NaiveDate>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    concert_date: Option<ConcertDate>,
    /// Which seat.
    #[serde(skip_serializing_if = "Option::is_none")]
    seat_number: Option<u32>,
    /// Who held it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<u64>,
    /// By which place in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<u64>,
}

impl AuditEntry {
    /// How many are listed.
    const LISTED_MAX: i64 = 100;

    /// An entry of the stream; none if it is not one of ours.
    fn read((id, fields): (String, Vec<(String, String)>)) -> Option<Self> {
        let ms = id.split('-').next()?.parse().ok()?;
        let mut fields = Fields(fields.into_iter().collect());
        let setting = fields.text("setting");
        let changed = setting.is_some().then(|| "changed".to_owned());
        Some(Self {
            at: DateTime::from_timestamp_millis(ms)?,
            request: fields.0.remove("request")?,
            action: fields.text("action").or(changed)?,
            setting,
            before: fields.text("before"),
            after: fields.text("after"),
            left: fields.read("left"),
            concert_date: fields.read("date"),
            seat_number: fields.read("seat"),
            user_id: fields.read("user"),
            place: fields.read("place"),
        })
    }
}

impl Queue {
    /// What operators did to `concert`, at most 100 things, the newest first.
    pub async fn changes(&self, concert: &Concert) -> Result<Vec<AuditEntry>, QueueError> {
        let entries = self.0.redis.newest(&concert.keys.audit, AuditEntry::LISTED_MAX).await;
        Ok(entries.map_err(QueueError::read)?.into_iter().filter_map(AuditEntry::read).collect())
    }
}

struct Fields(HashMap<String, String>);

impl Fields {
    fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    fn read<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.0.get(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Option<serde_json::Value> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let entry = ("1764183600000-0".to_owned(), fields.iter().map(owned).collect());
        AuditEntry::read(entry).map(|entry| serde_json::to_value(entry).unwrap())
    }

    #[test]
    fn each_thing_that_was_done_is_told_in_its_own_fields() {
        let changed = [("request", "r"), ("setting", "batch"), ("before", ""), ("after", "5")];
        let told = serde_json::json!({
            "at": "2025-11-26T19:00:00Z", "request": "r", "action": "changed", "setting": "batch",
            "before": null, "after": "5",
        });
        assert_eq!(read(&changed), Some(told));
        let cleared = [("request", "r"), ("action", "cleared"), ("left", "1000000")];
        let told = serde_json::json!({
            "at": "2025-11-26T19:00:00Z", "request": "r", "action": "cleared", "setting": null,
            "before": null, "after": null, "left": 1_000_000,
        });
        assert_eq!(read(&cleared), Some(told));
        let released = [
            ("request", "r"),
            ("action", "released"),
            ("date", "2030-12-24"),
            ("seat", "12"),
            ("user", "7"),
            ("place", "60154812345678"),
        ];
        let told = serde_json::json!({
            "at": "2025-11-26T19:00:00Z", "request": "r", "action": "released", "setting": null,
            "before": null, "after": null, "concertDate": "2030-12-24", "seatNumber": 12,
            "userId": 7, "place": 60_154_812_345_678_u64,
        });
        assert_eq!(read(&released), Some(told));
    }

    #[test]
    fn what_is_not_ours_is_no_entry() {
        assert_eq!(read(&[("request", "r")]), None);
        assert_eq!(read(&[("setting", "batch")]), None);
    }
}
