//! Lists of seats as people write them: `1-3,7`.

use serde_json::Value;

use crate::seats::scripts::SeatsOrder;

/// Some seats, each once, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeatList(Vec<u32>);

impl SeatList {
    /// Reads numbers and ranges of them, separated by commas; what is no seat is for the server to
    /// refuse.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut seats = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse::<u32>().ok().filter(|_| is_plain);
                number.ok_or_else(|| format!("{part:?} is neither a seat nor a range of them"))
            };
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(format!("{part:?} ends before it begins"));
            }
            // A range as long as that is not even written out.
            if seats.len() + (last - first) as usize >= SeatsOrder::SEATS_MAX {
                return Err(format!("at most {} seats at a time", SeatsOrder::SEATS_MAX));
            }
            seats.extend(first..=last);
        }
        seats.sort_unstable();
        seats.dedup();
        Ok(Self(seats))
    }

    /// A JSON list of seats, ascending as servers answer it.
    pub fn of(list: &Value) -> Self {
        let number = |seat: &Value| seat.as_u64().and_then(|seat| u32::try_from(seat).ok());
        Self(list.as_array().into_iter().flatten().filter_map(number).collect())
    }

    pub fn to_json(&self) -> Value {
        self.0.clone().into()
    }
}

impl std::fmt::Display for SeatList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, run) in self.0.chunk_by(|one, next| next - one == 1).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                one => write!(f, "{comma}{}", one[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_read_and_written_as_people_do() {
        for (written, shown) in [
            ("7", "7"),
            ("1,2,10-12", "1-2,10-12"),
            ("12-10,1", ""),
            ("3,1,2,2", "1-3"),
            ("1-200", "1-200"),
        ] {
            let read = SeatList::parse(written).map(|list| list.to_string());
            assert_eq!(read.unwrap_or_default(), shown, "{written}");
        }
        for wrong in ["", ",", "1,", "a", "1-", "-1", "1-2-3", " 1", "+1", "1-201", "1-4294967295"]
        {
            assert!(SeatList::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(SeatList::of(&json!([1, 2, 3, 9])).to_string(), "1-3,9");
        assert_eq!(SeatList::of(&json!([])).to_string(), "");
        assert_eq!(SeatList::parse("4-5").unwrap().to_json(), json!([4, 5]));
    }
}
