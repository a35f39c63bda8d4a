//! `onsale queue`: an operator steers a sale from a shell, by the routes under `/admin/` of any
//! server of it. What is asked is checked by that server, which also notes it.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context, anyhow};
use clap::ArgMatches;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::Failure;
use crate::config::Resolver;

mod arguments;
mod seats;
mod tables;

pub(super) use arguments::command;
use seats::SeatList;

/// What an operator wants, and of which server.
#[derive(Debug)]
pub struct Order {
    url: String,
    as_json: bool,
    concert: Option<i64>,
    action: Action,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
enum Action {
    Show,
    /// Fields of `PATCH /admin/concerts`.
    Change(Map<String, Value>),
    /// Everybody who waits; whether nobody needs to be asked first.
    Clear {
        yes: bool,
    },
    /// Fields of `DELETE /admin/holds`.
    Release(Map<String, Value>),
    LookUpUser(i64),
    LookUpToken(String),
    Audit,
    Withheld,
    /// Fields of `POST /admin/withheld`.
    Withhold(Map<String, Value>),
    /// Fields of `DELETE /admin/withheld`.
    GiveBack(Map<String, Value>),
}

/// How long an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// The fields of a command about seats of one date.
fn seats_of(matches: &ArgMatches) -> Map<String, Value> {
    let date = matches.get_one::<String>("date").map_or(Value::Null, |date| json!(date));
    let seats = matches.get_one("seats").map_or(Value::Null, SeatList::to_json);
    Map::from_iter([("concertDate".to_owned(), date), ("seatNumbers".to_owned(), seats)])
}

/// Reads what [`command`] has parsed.
pub(super) fn order(matches: &ArgMatches) -> Order {
    let url = matches.get_one::<String>("url").map_or("http://127.0.0.1:8080", String::as_str);
    Order {
        url: url.trim_end_matches('/').to_owned(),
        as_json: matches.get_flag("json"),
        concert: matches.get_one("concert").copied(),
        action: matches.subcommand().map_or(Action::Show, |(name, matches)| action(name, matches)),
    }
}

fn action(name: &str, matches: &ArgMatches) -> Action {
    let text = |id: &str| matches.get_one::<String>(id).cloned().unwrap_or_default();
    let change =
        |field: &str, value: Value| Action::Change(Map::from_iter([(field.to_owned(), value)]));
    match name {
        "pause" => change("paused", json!(true)),
        "resume" => change("paused", json!(false)),
        "capacity" | "batch" => change(name, knob(&text("value"))),
        "message" => change(
            "message",
            matches.get_one::<String>("text").map_or(Value::Null, |text| json!(text)),
        ),
        "open" => change("opensAt", moment(&text("at"))),
        "close" => change("closesAt", moment(&text("at"))),
        "beacon" => change("beacon", json!(text("value"))),
        "lookup" => match matches.get_one::<i64>("user") {
            Some(user) => Action::LookUpUser(*user),
            None => Action::LookUpToken(text("token")),
        },
        "clear" => Action::Clear { yes: matches.get_flag("yes") },
        "release" => Action::Release(seats_of(matches)),
        "audit" => Action::Audit,
        "withheld" => Action::Withheld,
        "withhold" => Action::Withhold(seats_of(matches)),
        "give-back" => Action::GiveBack(seats_of(matches)),
        _ => Action::Show,
    }
}

/// A number; `default` removes the setting, and what is neither is for the server to refuse.
fn knob(text: &str) -> Value {
    match text.parse::<i64>() {
        _ if text == "default" => Value::Null,
        Ok(number) => json!(number),
        Err(_) => json!(text),
    }
}

fn moment(text: &str) -> Value {
    if text == "default" { Value::Null } else { json!(text) }
}

/// Asks the server and prints what it answers.
///
/// # Errors
///
/// A missing token, another scheme than `http`, or a concert that is not clear (exit code 2); a
/// refusal of the server (3); or a server that cannot be reached or fails (1).
pub async fn command_line(order: Order, mut resolver: Resolver) -> Result<(), Failure> {
    let token = resolver.text("admin_token").map(str::to_owned);
    if token.is_none() {
        resolver.fault("admin_token", "is needed: the one that the server was started with");
    }
    if !order.url.starts_with("http://") {
        let why = format!(
            "{} is no http:// URL, and this speaks no TLS: name a server itself, or a tunnel to it",
            order.url
        );
        return Err(Failure::Usage(why));
    }
    let faults = resolver.into_faults();
    let Some(token) = token.filter(|_| faults.is_empty()) else {
        return Err(Failure::Configuration(faults));
    };
    let http = reqwest::Client::builder()
        .timeout(PATIENCE)
        // The operators' token goes to nobody else.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let server = Server { url: &order.url, token: &token, http: http.context("no HTTP client")? };
    let printed = server.carry_out(&order).await?;
    // Whoever reads it may have read enough.
    let _ = writeln!(std::io::stdout(), "{printed}");
    Ok(())
}

/// A server, as an operator sees it.
struct Server<'a> {
    url: &'a str,
    token: &'a str,
    http: reqwest::Client,
}

impl Server<'_> {
    /// Does what is wanted; what is to be printed of it.
    async fn carry_out(&self, order: &Order) -> Result<String, Failure> {
        let (method, path, body) = match &order.action {
            Action::Show => (Method::GET, "/admin/concerts", None),
            Action::LookUpToken(token) => {
                (Method::GET, "/admin/people", Some(json!({ "token": token })))
            }
            action => {
                let concert = self.concert(order.concert).await?;
                if *action == (Action::Clear { yes: false }) {
                    self.confirm_clearing(&concert).await?;
                }
                let mut body = Map::from_iter([("concertId".to_owned(), concert)]);
                let (method, path) = match action {
                    Action::Change(change) => {
                        body.extend(change.clone());
                        (Method::PATCH, "/admin/concerts")
                    }
                    Action::Clear { .. } => (Method::DELETE, "/admin/waiting"),
                    Action::Release(seats) => {
                        body.extend(seats.clone());
                        (Method::DELETE, "/admin/holds")
                    }
                    Action::LookUpUser(user) => {
                        body.insert("userId".to_owned(), json!(user));
                        (Method::GET, "/admin/people")
                    }
                    Action::Withhold(seats) => {
                        body.extend(seats.clone());
                        (Method::POST, "/admin/withheld")
                    }
                    Action::GiveBack(seats) => {
                        body.extend(seats.clone());
                        (Method::DELETE, "/admin/withheld")
                    }
                    Action::Withheld => (Method::GET, "/admin/withheld"),
                    _ => (Method::GET, "/admin/audit"),
                };
                (method, path, Some(Value::Object(body)))
            }
        };
        let mut answer = self.ask(method, path, body).await?;
        if let (Action::Show, Some(concert)) = (&order.action, order.concert)
            && let Some(concerts) = answer["concerts"].as_array_mut()
        {
            concerts.retain(|one| one["concertId"] == concert);
        }
        if order.as_json {
            return Ok(
                serde_json::to_string_pretty(&answer).context("the answer has no JSON form")?
            );
        }
        Ok(match &order.action {
            Action::Show => {
                tables::concerts(answer["concerts"].as_array().map_or(&[], Vec::as_slice))
            }
            Action::Change(_) => tables::concerts(std::slice::from_ref(&answer)),
            Action::Clear { .. } => tables::cleared(&answer),
            Action::Release(_) => tables::released(&answer),
            Action::LookUpUser(_) | Action::LookUpToken(_) => tables::person(&answer),
            Action::Withheld => {
                tables::seats(answer["dates"].as_array().map_or(&[], Vec::as_slice))
            }
            Action::Withhold(_) | Action::GiveBack(_) => {
                tables::seats(std::slice::from_ref(&answer))
            }
            Action::Audit => tables::audit(answer["entries"].as_array().map_or(&[], Vec::as_slice)),
        })
    }

    /// The concert that is meant: the one given, or the only one.
    async fn concert(&self, given: Option<i64>) -> Result<Value, Failure> {
        if let Some(given) = given {
            return Ok(json!(given));
        }
        let all = self.ask(Method::GET, "/admin/concerts", None).await?;
        match all["concerts"].as_array().map(Vec::as_slice) {
            Some([only]) => Ok(only["concertId"].clone()),
            Some(several) => {
                let name = |one: &Value| {
                    format!("{} ({})", one["concertId"], one["name"].as_str().unwrap_or_default())
                };
                let names: Vec<_> = several.iter().map(name).collect();
                Err(Failure::Usage(format!("--concert is needed: there are {}", names.join(", "))))
            }
            None => Err(self.is_strange(StatusCode::OK)),
        }
    }

    /// Asks whoever sits at the terminal. Without one there is nobody to ask.
    async fn confirm_clearing(&self, concert: &Value) -> Result<(), Failure> {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::Refused(
                "nothing was done: everybody who waits loses their place, so --yes is needed"
                    .into(),
            ));
        }
        let all = self.ask(Method::GET, "/admin/concerts", None).await?;
        let all = all["concerts"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(one) = all.iter().find(|one| one["concertId"] == *concert) else {
            return Err(Failure::Refused(format!("concert {concert} is not on sale here")));
        };
        let (name, waiting) = (&one["name"], &one["waiting"]);
        eprint!(
            "{waiting} people wait for concert {concert}, {name}. All lose their place: type yes: "
        );
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("no answer can be read")?;
        if answer.trim() == "yes" {
            Ok(())
        } else {
            Err(Failure::Refused("nothing was done".into()))
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let unreached = || format!("{} does not answer", self.url);
        let answer = request.send().await.map_err(reqwest::Error::without_url);
        let answer = answer.with_context(unreached)?;
        let status = answer.status();
        let body =
            answer.bytes().await.map_err(reqwest::Error::without_url).with_context(unreached)?;
        let Ok(body) = serde_json::from_slice::<Value>(&body) else {
            return Err(self.is_strange(status));
        };
        if status.is_success() {
            return Ok(body);
        }
        let (Some(code), Some(detail)) = (body["code"].as_str(), body["detail"].as_str()) else {
            return Err(self.is_strange(status));
        };
        let id = body["requestId"].as_str().unwrap_or("none");
        let told = format!("{detail} ({} {code}, request {id})", status.as_u16());
        Err(if status.is_client_error() {
            Failure::Refused(told)
        } else {
            Failure::Other(anyhow!(told))
        })
    }

    fn is_strange(&self, status: StatusCode) -> Failure {
        Failure::Other(anyhow!("{} answers {status}, and not as Onsale does", self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Action {
        let words = std::iter::once(&"queue").chain(words);
        order(&command().try_get_matches_from(words).unwrap()).action
    }

    #[test]
    fn every_command_is_the_change_that_it_says() {
        let change = |value: Value| Action::Change(value.as_object().unwrap().clone());
        assert_eq!(read(&["pause"]), change(json!({"paused": true})));
        assert_eq!(read(&["resume"]), change(json!({"paused": false})));
        assert_eq!(read(&["capacity", "500"]), change(json!({"capacity": 500})));
        assert_eq!(read(&["batch", "default"]), change(json!({"batch": null})));
        assert_eq!(read(&["batch", "many"]), change(json!({"batch": "many"})));
        assert_eq!(read(&["message", "soon"]), change(json!({"message": "soon"})));
        assert_eq!(read(&["message"]), change(json!({"message": null})));
        assert_eq!(read(&["open"]), change(json!({"opensAt": "now"})));
        assert_eq!(read(&["close", "--at", "default"]), change(json!({"closesAt": null})));
        assert_eq!(read(&["beacon", "00ff"]), change(json!({"beacon": "00ff"})));
        assert_eq!(read(&["lookup", "--user", "7"]), Action::LookUpUser(7));
        let of = json!({"concertDate": "2030-12-24", "seatNumbers": [1, 2, 3]});
        let of = of.as_object().unwrap();
        let words = |name| read(&[name, "--date", "2030-12-24", "--seats", "1-3"]);
        assert_eq!(words("withhold"), Action::Withhold(of.clone()));
        assert_eq!(words("give-back"), Action::GiveBack(of.clone()));
        assert_eq!(read(&["withheld"]), Action::Withheld);
        assert_eq!(words("release"), Action::Release(of.clone()));
        assert_eq!(read(&["clear"]), Action::Clear { yes: false });
        assert_eq!(read(&["clear", "--yes"]), Action::Clear { yes: true });
    }

    #[test]
    fn what_is_not_said_in_whole_is_refused_before_anybody_is_asked() {
        for words in [
            &["queue"][..],
            &["queue", "capacity"],
            &["queue", "lookup"],
            &["queue", "beacon"],
            &["queue", "release", "--date", "2030-12-24"],
            &["queue", "release", "--seats", "12"],
            &["queue", "release", "--date", "2030-12-24", "--seats", "12,x"],
            &["queue", "lookup", "--user", "1", "--token", "x"],
            &["queue", "pause", "--concert", "one"],
            &["queue", "withhold", "--date", "2030-12-24"],
            &["queue", "give-back", "--seats", "1"],
            &["queue", "withhold", "--date", "2030-12-24", "--seats", "1-"],
        ] {
            assert!(command().try_get_matches_from(words).is_err(), "{words:?}");
        }
    }
}
