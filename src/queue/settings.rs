//! The live settings of a line: what an operator may change while people wait, on all servers at
//! once.
//!
//! They are in `{c<id>}:settings` and win over a server's configuration. What is *not* here: their
//! use; promotion reads them inside its script, everybody else from the board.

use std::fmt;

use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{OutOfRange, People};

pub(super) static CONFIGURE: LuaScript = LuaScript::new(
    "queue/configure",
    include_str!("../../lua/queue/configure.lua"), //
);

/// What is to become of one setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is removed, so that the servers' configuration holds again.
    Remove,
    /// It becomes this.
    Set(T),
}

/// What operators tell everybody who waits: 1 to 500 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(String);

/// Why a text is no [`Message`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageFault {
    /// Empty or too long.
    #[error(transparent)]
    Length(OutOfRange),
    /// It has a control character: a line break, a tab.
    #[error("a message is one line of text, without control characters")]
    Control,
}

impl Message {
    /// The most characters.
    pub const CHARACTERS_MAX: usize = 500;

    /// Takes a text over as it is.
    ///
    /// # Errors
    ///
    /// [`MessageFault`].
    pub fn new(text: &str) -> Result<Self, MessageFault> {
        let given = text.chars().count();
        if !(1..=Self::CHARACTERS_MAX).contains(&given) {
            return Err(MessageFault::Length(OutOfRange {
                what: "the length of a message",
                min: 1,
                max: Self::CHARACTERS_MAX as i128,
                given: given as i128,
            }));
        }
        if text.chars().any(char::is_control) {
            return Err(MessageFault::Control);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A moment of the sale that an operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The moment at which Redis takes the change; one that has passed already stays as it is.
    Now,
    /// Unix ms, 1 to [`Self::UNIX_MS_MAX`].
    At(u64),
}

impl Moment {
    /// The last millisecond of the year 9999, the last one that RFC 3339 can write.
    pub const UNIX_MS_MAX: u64 = 253_402_300_799_999;
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::At(ms) => ms.fmt(f),
        }
    }
}

/// The value of a beacon's round: 16 to 128 hex digits, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeaconValue(String);

impl BeaconValue {
    /// Takes hex digits of either case.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (16..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for BeaconValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operator changes, all in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// The most active tokens at any moment.
    pub capacity: Change<People>,
    /// The most promotions per second.
    pub batch: Change<People>,
    /// Whether nobody is let in.
    pub paused: Change<bool>,
    /// What is told everybody who waits.
    pub message: Change<Message>,
    /// Nobody is let in before.
    pub opens_at: Change<Moment>,
    /// Nobody arrives or is let in from then on; later than `opens_at`.
    pub closes_at: Change<Moment>,
    /// The value of the beacon's round that a lottery is bound to, once who takes part is frozen.
    pub beacon: Change<BeaconValue>,
}

impl SettingsChange {
    /// Whether it changes nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A live setting, by the rule of `queue/promote`: anything but a whole number in range counts as
/// not set.
pub(super) fn knob(text: Option<&str>) -> Option<u32> {
    whole_number(text, u64::from(People::MAX)).and_then(|number| u32::try_from(number).ok())
}

/// A moment among the live settings, Unix ms; by the same rule.
pub(super) fn moment(text: Option<&str>) -> Option<u64> {
    whole_number(text, Moment::UNIX_MS_MAX)
}

fn whole_number(text: Option<&str>, max: u64) -> Option<u64> {
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok().filter(|number| *number <= max)
}

/// When a sale opens and ends by its live settings alone, Unix ms; none where they say nothing.
#[must_use]
pub fn live_times(settings: &[(String, String)]) -> (Option<u64>, Option<u64>) {
    let of = |wanted: &str| {
        let setting = settings.iter().find(|(name, _)| name == wanted);
        moment(setting.map(|(_, text)| text.as_str()))
    };
    (of("opens_at"), of("closes_at"))
}

/// Changes settings, and notes each change.
#[derive(Debug)]
pub struct Configure<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The request that asks.
    pub request: &'a str,
    /// What to change; not empty.
    pub change: &'a SettingsChange,
}

/// What came of [`Configure`]. All but the first changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigureOutcome {
    /// Every setting is as asked.
    Configured,
    /// The sale would end before it opens, or at that moment.
    NeverOpen {
        /// When it would open, Unix ms.
        opens_at_ms: u64,
        /// When it would end, Unix ms.
        closes_at_ms: u64,
    },
    /// No draw waits for a beacon's value.
    NotAwaited(NotAwaited),
}

/// Why no draw waits for a beacon's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAwaited {
    /// There is none, or it is bound to no round.
    #[error("this concert has no lottery that is bound to a beacon's round")]
    NoRound,
    /// A value that is known before may have been waited for.
    #[error(
        "who takes part in the lottery is not frozen yet: that is when the sale opens, and the \
         beacon's round is one that is published afterwards"
    )]
    NotFrozen,
    /// It stays.
    #[error("the draw has taken over another value, and it stays")]
    Drawn,
}

impl ScriptCall for Configure<'_> {
    type Outcome = ConfigureOutcome;

    fn script() -> &'static LuaScript {
        &CONFIGURE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.settings).key(&keys.audit).key(&keys.draw);
        args.text(self.request);
        args.int(self.concert.opens_at_ms()).int(self.concert.closes_at_ms());
        let change = self.change;
        write_change(args, "capacity", &change.capacity, ToString::to_string);
        write_change(args, "batch", &change.batch, ToString::to_string);
        write_change(args, "paused", &change.paused, |paused| u8::from(*paused).to_string());
        write_change(args, "message", &change.message, ToString::to_string);
        write_change(args, "opens_at", &change.opens_at, ToString::to_string);
        write_change(args, "closes_at", &change.closes_at, ToString::to_string);
        write_change(args, "beacon", &change.beacon, ToString::to_string);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<ConfigureOutcome, ReplyFault> {
        match tag {
            "configured" => Ok(ConfigureOutcome::Configured),
            "never_open" => Ok(ConfigureOutcome::NeverOpen {
                opens_at_ms: reply.int()?,
                closes_at_ms: reply.int()?,
            }),
            "not_awaited" => Ok(ConfigureOutcome::NotAwaited(match reply.text()?.as_str() {
                "no_round" => NotAwaited::NoRound,
                "not_frozen" => NotAwaited::NotFrozen,
                "drawn" => NotAwaited::Drawn,
                other => return Err(ReplyFault::Tag(other.to_owned())),
            })),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

fn write_change<T>(
    args: &mut Args,
    setting: &'static str,
    change: &Change<T>,
    text: impl Fn(&T) -> String,
) {
    match change {
        Change::Keep => {}
        Change::Remove => {
            args.word(setting).word("");
        }
        Change::Set(value) => {
            args.word(setting).text(text(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_setting_that_is_no_number_in_range_counts_as_not_set() {
        assert_eq!(knob(Some("0")), Some(0));
        assert_eq!(knob(Some("10000000")), Some(10_000_000));
        for text in ["", "-1", "1.5", "1e3", "10000001", "+5", "99999999999999"] {
            assert_eq!(knob(Some(text)), None, "{text}");
        }
        assert_eq!(knob(None), None);
        assert_eq!(moment(Some("253402300799999")), Some(253_402_300_799_999));
        for text in ["", "-1", "now", "253402300800000"] {
            assert_eq!(moment(Some(text)), None, "{text}");
        }
        let settings = [("closes_at", "5"), ("capacity", "7"), ("opens_at", "soon")];
        let settings = settings.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(live_times(&settings), (None, Some(5)));
    }

    #[test]
    fn a_beacon_value_is_16_to_128_hex_digits() {
        for text in ["0123456789abcdef", &"F".repeat(128)] {
            assert_eq!(BeaconValue::new(text).unwrap().to_string(), text.to_lowercase());
        }
        for text in
            ["", "0123456789abcde", &"0".repeat(129), "0123456789abcdeg", "0123456789abcde "]
        {
            assert_eq!(BeaconValue::new(text), None, "{text}");
        }
    }

    #[test]
    fn a_message_is_one_line_of_1_to_500_characters() {
        for text in ["!", "곧 시작합니다", &"é".repeat(500)] {
            assert_eq!(Message::new(text).unwrap().to_string(), text);
        }
        for text in ["", &"é".repeat(501)] {
            assert!(matches!(Message::new(text), Err(MessageFault::Length(_))), "{text}");
        }
        for text in ["two\nlines", "a\ttab", "\u{7f}", "\u{85}"] {
            assert_eq!(Message::new(text), Err(MessageFault::Control), "{text:?}");
        }
    }
}
