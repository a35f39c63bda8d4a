//! Where a setting comes from (flag, environment, file, default), and reading it as a type.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::settings::{SETTINGS, Setting};

/// One setting that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value}: {rule}")]
pub struct Fault {
    /// The setting's variable.
    pub setting: String,
    /// What was given; never a secret.
    pub value: String,
    /// What is allowed.
    pub rule: String,
}

/// The settings in their written form, and the faults found while reading them.
#[derive(Debug, Default, Clone)]
pub struct Resolver {
    values: BTreeMap<&'static str, String>,
    faults: Vec<Fault>,
}

impl Resolver {
    /// Merges the sources; the first that has a value wins: `given` (flags and environment), the
    /// file, a file named by `ONSALE_…_FILE`, the default.
    pub fn new(
        given: impl Fn(&str) -> Option<String>,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<&str>,
    ) -> Self {
        let mut resolver = Self::default();
        let mut in_file = resolver.read_file(file);
        for setting in SETTINGS {
            let from_file = in_file.remove(setting.name);
            let value = given(setting.name)
                .or_else(|| resolver.secret_file(setting, &environment))
                .or(from_file)
                .or_else(|| setting.default.map(str::to_owned));
            if let Some(value) = value {
                resolver.values.insert(setting.name, value);
            }
        }
        for name in in_file.into_keys() {
            let known = SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>().join(", ");
            resolver.faults.push(Fault {
                setting: name,
                // It may be a secret whose name has a mistake.
                value: "(not shown)".to_owned(),
                rule: format!("no such setting; the file may have {known}"),
            });
        }
        resolver
    }

    fn read_file(&mut self, file: Option<&str>) -> BTreeMap<String, String> {
        let table = match file.map(str::parse::<toml::Table>) {
            None => toml::Table::new(),
            Some(Ok(table)) => table,
            Some(Err(error)) => {
                self.faults.push(Fault {
                    setting: "ONSALE_CONFIG".to_owned(),
                    value: "(file)".to_owned(),
                    rule: error.message().to_owned(),
                });
                toml::Table::new()
            }
        };
        let written = |value: toml::Value| match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        table.into_iter().map(|(name, value)| (name, written(value))).collect()
    }

    fn secret_file(
        &mut self,
        setting: &Setting,
        environment: &impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        if !setting.secret {
            return None;
        }
        let variable = format!("{}_FILE", setting.variable());
        let path = environment(&variable)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) => {
                self.faults.push(Fault {
                    setting: variable,
                    value: path,
                    rule: format!("cannot be read: {error}"),
                });
                None
            }
        }
    }

    /// The written value, if there is one.
    #[must_use]
    pub fn text(&self, name: &'static str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Sets a value that nothing else has set: `onsale dev` knows its own stores.
    pub fn default_to(&mut self, name: &'static str, value: impl FnOnce() -> String) {
        self.values.entry(name).or_insert_with(value);
    }

    /// Sets a value, whatever was given before.
    pub fn set(&mut self, name: &'static str, value: String) {
        self.values.insert(name, value);
    }

    /// Forgets a value, whoever gave it.
    pub fn unset(&mut self, name: &'static str) {
        self.values.remove(name);
    }

    /// Records that `name` breaks `rule`, which is about several settings, unless one of `others` or
    /// `name` itself has a fault already: then nobody knows what was meant.
    pub fn fault_beside(
        &mut self,
        name: &'static str,
        others: &[&'static str],
        rule: impl Into<String>,
    ) {
        let is_faulty =
            |name: &&str| self.faults.iter().any(|fault| fault.setting == variable(name));
        if !others.iter().chain([&name]).any(is_faulty) {
            self.fault(name, rule);
        }
    }

    /// Records that `name` breaks `rule`.
    pub fn fault(&mut self, name: &'static str, rule: impl Into<String>) {
        let secret = SETTINGS.iter().any(|setting| setting.name == name && setting.secret);
        let value = match self.text(name) {
            None => "(not set)".to_owned(),
            Some(_) if secret => "(secret)".to_owned(),
            Some(text) => format!("{text:?}"),
        };
        self.faults.push(Fault { setting: variable(name), value, rule: rule.into() });
    }

    /// A value of any type that reads itself, or None and a fault that says `rule`.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, rule: &str) -> Option<T> {
        let parsed = self.text(name)?.parse().ok();
        if parsed.is_none() {
            self.fault(name, rule);
        }
        parsed
    }

    /// A whole number in `range`.
    pub fn number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let read = self.text(name).and_then(|text| text.parse().ok());
        read.filter(|value| range.contains(value)).unwrap_or_else(|| {
            let rule = format!("must be a whole number, {} to {}", range.start(), range.end());
            self.fault(name, rule);
            *range.start()
        })
    }

    /// A duration in `range`.
    pub fn duration(&mut self, name: &'static str, range: RangeInclusive<Duration>) -> Duration {
        let read = self.text(name).and_then(parse_duration);
        read.filter(|value| range.contains(value)).unwrap_or_else(|| {
            let rule = format!(
                "must be a duration like 300ms, 5s, 10m or 1h, {} to {}",
                written(*range.start()),
                written(*range.end())
            );
            self.fault(name, rule);
            *range.start()
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &'static str) -> bool {
        self.parsed(name, "must be true or false").unwrap_or(false)
    }

    /// All faults, in the order in which they were found.
    #[must_use]
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

/// `claim_ttl` → `ONSALE_CLAIM_TTL`.
fn variable(name: &str) -> String {
    format!("ONSALE_{}", name.to_ascii_uppercase())
}

/// Reads `300ms`, `5s`, `10m`, `1h`: a whole number and a unit, nothing else.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

/// The shortest written form of a duration.
fn written(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("10m"), Some(Duration::from_mins(10)));
        for wrong in ["", "5", "s", "5 s", "-5s", "5s ", "1.5s", "5d", "99999999999999999999s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
        assert_eq!(
            u64::MAX.checked_mul(1000).map(Duration::from_millis),
            parse_duration(&format!("{}s", u64::MAX))
        );
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_default() {
        let file = Some("capacity = 7\nbatch = 8\n");
        let given = |name: &str| (name == "capacity").then(|| "9".to_owned());
        let mut resolver = Resolver::new(given, |_| None, file);
        assert_eq!(resolver.number("capacity", 1..=100_u32), 9);
        assert_eq!(resolver.number("batch", 1..=100_u32), 8);
        assert_eq!(resolver.number("requests_max", 1..=10_000_u32), 8192);
        assert!(resolver.into_faults().is_empty());
    }

    #[test]
    fn an_unknown_name_in_the_file_is_a_fault() {
        let resolver = Resolver::new(|_| None, |_| None, Some("admin_tokken = \"hunter2\""));
        let faults = resolver.into_faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].setting, "admin_tokken");
        assert!(!faults[0].to_string().contains("hunter2"), "{}", faults[0]);
    }
    #[test]
    fn a_secret_may_be_in_a_file_of_its_own_and_nothing_else_may() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from the file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let environment = |name: &str| match name {
            "ONSALE_JWT_SECRET_FILE" | "ONSALE_ADMIN_TOKEN_FILE" | "ONSALE_LOG_FILE" => {
                Some(path.to_owned())
            }
            "ONSALE_TOKEN_KEY_FILE" => Some("/no/such/file".to_owned()),
            _ => None,
        };
        let given = |name: &str| (name == "admin_token").then(|| "given".to_owned());
        let in_file = Some("jwt_secret = \"from the table\"");
        let resolver = Resolver::new(given, environment, in_file);
        assert_eq!(resolver.text("jwt_secret"), Some("from the file"));
        assert_eq!(resolver.text("admin_token"), Some("given"));
        assert_ne!(resolver.text("log"), Some("from the file"));
        let faults = resolver.into_faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].setting, "ONSALE_TOKEN_KEY_FILE");
    }
}
