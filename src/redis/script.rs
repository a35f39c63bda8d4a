//! The Lua scripts in `lua/`, as Rust sees them.
//!
//! One script = one file in `lua/` = one [`ScriptCall`] type in the slice that owns it. Nothing
//! outside [`super`] sends `EVAL` or `EVALSHA`, so timeouts, metrics and a forgotten script are
//! handled once.

use std::sync::OnceLock;

use fred::{bytes_utils::Str, types::Value};

use super::{Key, Reply, ReplyFault};
use crate::metrics::Calls;
use crate::mutant;

/// A Lua script that is built into this binary.
pub struct LuaScript {
    /// Path under `lua/` without `.lua`; also the label in logs and metrics.
    pub name: &'static str,
    built_in: &'static str,
    source: OnceLock<&'static str>,
    sha: OnceLock<Str>,
    /// How this process' calls of it went.
    pub calls: Calls,
}

impl LuaScript {
    /// Declares a script with its whole file; the SHA-1 is computed at the first use.
    #[must_use]
    pub const fn new(name: &'static str, built_in: &'static str) -> Self {
        Self { name, built_in, source: OnceLock::new(), sha: OnceLock::new(), calls: Calls::new() }
    }

    /// The whole file.
    #[must_use]
    pub fn source(&self) -> &'static str {
        self.source.get_or_init(|| mutant::script(self.name, self.built_in))
    }

    /// Whether it says of itself that it writes nothing.
    pub(super) fn only_reads(&self) -> bool {
        self.source().starts_with("#!lua flags=no-writes\n")
    }

    pub(super) fn sha(&self) -> &Str {
        self.sha.get_or_init(|| Str::from(fred::util::sha1_hash(self.source())))
    }
}

/// One call of one script, with its keys and arguments under their own names.
pub trait ScriptCall {
    /// What the script answers, decoded.
    type Outcome;

    /// The script.
    fn script() -> &'static LuaScript;

    /// Writes the keys, then the arguments, in the order of the lists in the script's header.
    fn write(&self, args: &mut Args);

    /// # Errors
    ///
    /// [`ReplyFault`] if the answer has a tag or a shape that this build does not know.
    fn decode(tag: &str, reply: Reply) -> Result<Self::Outcome, ReplyFault>;
}

/// The keys and arguments of one call.
#[derive(Debug, Default)]
pub struct Args {
    keys: Vec<Value>,
    argv: Vec<Value>,
}

impl Args {
    /// Adds a key.
    pub fn key(&mut self, key: &Key) -> &mut Self {
        self.keys.push(Value::String(key.0.clone()));
        self
    }

    /// Adds one more key of the same slot, of which there never is a value.
    ///
    /// While a cluster moves a slot, part of its keys is here and part there. Redis refuses a call
    /// whose keys are not all here; but a script that makes a key, or comes back to one that it
    /// emptied, it stops in the middle. With a key that is never here it refuses every call.
    pub(super) fn key_that_never_is(&mut self) {
        if let Some(Value::String(first)) = self.keys.first() {
            let tag = super::client::tag_of(first);
            self.keys.push(Value::String(Str::from(format!("{tag}:never"))));
        }
    }

    /// Adds a text argument.
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.argv.push(Value::String(Str::from(text.into())));
        self
    }

    /// Adds a text argument that needs no copy.
    pub fn word(&mut self, word: &'static str) -> &mut Self {
        self.argv.push(Value::String(Str::from_static(word)));
        self
    }

    /// Adds an integer argument; sent in decimal, whatever its size.
    pub fn int(&mut self, number: impl Into<i128>) -> &mut Self {
        let number: i128 = number.into();
        match i64::try_from(number) {
            Ok(number) => self.argv.push(Value::Integer(number)),
            Err(_) => self.argv.push(Value::String(Str::from(number.to_string()))),
        }
        self
    }

    /// Adds a duration or a Unix time in whole milliseconds.
    pub fn millis(&mut self, duration: std::time::Duration) -> &mut Self {
        self.int(i128::try_from(duration.as_millis()).unwrap_or(i128::MAX))
    }

    /// `first numkeys keys… argv…`: the form that `EVALSHA` and `EVAL` take.
    pub(super) fn into_command(self, first: Str) -> Vec<Value> {
        let mut command = Vec::with_capacity(2 + self.keys.len() + self.argv.len());
        command.push(Value::String(first));
        command.push(Value::Integer(i64::try_from(self.keys.len()).unwrap_or(i64::MAX)));
        command.extend(self.keys);
        command.extend(self.argv);
        command
    }
}
