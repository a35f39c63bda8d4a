//! What a server answers, for people.

use std::fmt::Write;

use serde_json::Value;

use super::seats::SeatList;

/// Rows under a head, each column as wide as its widest field.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let fields =
            rows.iter().filter_map(|row| row.get(column)).map(|field| field.chars().count());
        fields.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |fields: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (field, &width) in fields.zip(&widths) {
            let _ = write!(line, "{field:width$}  ");
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

/// A field as it is read: text without quotes, nothing as a dash.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// How these sales go.
pub(super) fn concerts(all: &[Value]) -> String {
    let head = [
        "ID", "NAME", "WAITING", "INSIDE", "BATCH", "PAUSED", "HELD", "WITHHELD", "SOLD", "OPENS",
        "CLOSES", "MESSAGE",
    ];
    let of =
        |one: &Value, part: &str, all: &str| format!("{}/{}", plain(&one[part]), plain(&one[all]));
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|one| {
            vec![
                plain(&one["concertId"]),
                plain(&one["name"]),
                plain(&one["waiting"]),
                of(one, "active", "capacity"),
                plain(&one["batch"]),
                plain(&one["paused"]),
                plain(&one["held"]),
                plain(&one["withheld"]),
                of(one, "sold", "seats"),
                plain(&one["opensAt"]),
                plain(&one["closesAt"]),
                plain(&one["message"]),
            ]
        })
        .collect();
    let missed = all.iter().filter(|one| one["missedLottery"] == true).map(|one| {
        let concert = plain(&one["concertId"]);
        format!("\nConcert {concert} has missed its lottery: whoever came first is served first.")
    });
    missed.fold(table(&head, &rows), |text, line| text + &line)
}

/// Seats of dates.
pub(super) fn seats(dates: &[Value]) -> String {
    let row = |one: &Value| {
        let seats = SeatList::of(&one["seatNumbers"]).to_string();
        vec![plain(&one["concertDate"]), if seats.is_empty() { "-".to_owned() } else { seats }]
    };
    table(&["DATE", "SEATS"], &dates.iter().map(row).collect::<Vec<_>>())
}

/// A line that was cleared.
pub(super) fn cleared(answer: &Value) -> String {
    format!(
        "{} people of concert {} lost their place",
        plain(&answer["left"]),
        plain(&answer["concertId"])
    )
}

/// Seats whose holds were released.
pub(super) fn released(answer: &Value) -> String {
    let seats: Vec<_> = answer["seatNumbers"].as_array().into_iter().flatten().map(plain).collect();
    let date = plain(&answer["concertDate"]);
    if seats.is_empty() {
        return format!("{date}: nobody held any of these seats");
    }
    format!("{date}: free again: {}", seats.join(", "))
}

/// The notes of what was done.
pub(super) fn audit(entries: &[Value]) -> String {
    let row = |entry: &Value| {
        let (what, before) = match entry["setting"].as_str() {
            Some(setting) => (setting.to_owned(), plain(&entry["before"])),
            None => done(entry),
        };
        vec![plain(&entry["at"]), what, before, plain(&entry["after"]), plain(&entry["request"])]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    table(&["AT", "WHAT", "BEFORE", "AFTER", "REQUEST"], &rows)
}

/// What was done that is no change of a setting, and how it was before.
fn done(entry: &Value) -> (String, String) {
    let action = plain(&entry["action"]);
    let seat =
        || format!("{action} {} {}", plain(&entry["concertDate"]), plain(&entry["seatNumber"]));
    match action.as_str() {
        "released" => {
            (seat(), format!("user {}, place {}", plain(&entry["userId"]), plain(&entry["place"])))
        }
        "cleared" => (action, format!("{} waiting", plain(&entry["left"]))),
        _ => (action, "-".to_owned()),
    }
}

/// What is known of somebody.
pub(super) fn person(answer: &Value) -> String {
    let standing = &answer["standing"];
    let status = match standing["status"].as_str() {
        Some("waiting") => format!(
            "waiting, number {}, about {} s",
            plain(&standing["queuePosition"]),
            plain(&standing["estimatedWaitTime"])
        ),
        Some("active") => format!(
            "active until {}{}",
            plain(&answer["activeUntil"]),
            if answer["claimed"] == true { "" } else { ", not used yet" }
        ),
        Some(other) => other.to_owned(),
        None => "has no live place".to_owned(),
    };
    let mut lines = vec![
        format!("concert  {}", plain(&answer["concertId"])),
        format!("user     {}", plain(&answer["userId"])),
        format!("place    {}", plain(&answer["place"])),
        format!("status   {status}"),
        format!("balance  {}", plain(&answer["balance"])),
    ];
    lines.extend(list(
        "holds",
        &answer["holds"],
        &["concertDate", "seatNumber", "price", "expireAt"],
    ));
    let owned = ["concertId", "concertDate", "seatNumber", "amount", "paidAt", "paymentId"];
    lines.extend(list("owns", &answer["owned"], &owned));
    lines.join("\n")
}

/// A list of objects under its name; nothing of an empty one.
fn list(name: &str, items: &Value, fields: &[&str]) -> Vec<String> {
    let Some(items) = items.as_array().filter(|items| !items.is_empty()) else {
        return Vec::new();
    };
    let row = |item: &Value| fields.iter().map(|field| plain(&item[*field])).collect();
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let table = table(fields, &rows);
    let indented: Vec<_> = table.lines().map(|line| format!("  {line}")).collect();
    vec![String::new(), format!("{name}:"), indented.join("\n")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_field() {
        let entries = [
            json!({"at": "t1", "setting": "paused", "before": null, "after": "1", "request": "r"}),
            json!({"at": "t2", "setting": "batch", "before": "100", "after": null, "request": "s"}),
            json!({
                "at": "t3", "action": "released", "concertDate": "2030-12-24", "seatNumber": 12,
                "userId": 7, "place": 19, "request": "t",
            }),
        ];
        let expected = "\
AT  WHAT                    BEFORE            AFTER  REQUEST
t1  paused                  -                 1      r
t2  batch                   100               -      s
t3  released 2030-12-24 12  user 7, place 19  -      t";
        assert_eq!(audit(&entries), expected);
    }

    #[test]
    fn a_lottery_that_was_missed_is_said_below_the_table() {
        let all = [json!({"concertId": 7, "missedLottery": true}), json!({"concertId": 8})];
        let told = concerts(&all);
        assert!(
            told.ends_with(
                "\nConcert 7 has missed its lottery: whoever came first is served first."
            ),
            "{told}"
        );
        assert!(!concerts(&all[1..]).contains("lottery"));
    }

    #[test]
    fn somebody_without_a_place_is_told_in_a_few_lines() {
        let told = person(&json!({
            "concertId": 1, "userId": 7, "place": null, "standing": null, "balance": 0,
            "holds": [], "owned": []
        }));
        assert!(told.ends_with("status   has no live place\nbalance  0"), "{told}");
    }
}
