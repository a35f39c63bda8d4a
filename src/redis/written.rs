//! Answers of scripts written as bytes, for fuzzers: whatever the bytes are, they are some answer.
//!
//! One field a line, told by its first byte: `:7` an integer, `,0.5` a double, `#t` and `#f`
//! booleans, `_` nil, `[` and `]` around an array. Any other line is a bulk string; `$` is not part
//! of it, so that `$:7` is the text `:7`. As the client library does, a string that is not UTF-8
//! becomes bytes.

use bytes::Bytes;
use fred::types::Value;

use super::runner::read_answer;
use super::{ReplyFault, ScriptCall};

/// The deepest array; a script's answer has one inside of another.
const DEPTH_MAX: usize = 8;

/// An answer that can be decoded as that of any script.
#[derive(Debug, Clone)]
pub(crate) struct WrittenAnswer(Vec<Value>);

impl WrittenAnswer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut open = vec![Vec::new()];
        for line in bytes.split(|byte| *byte == b'\n') {
            match line {
                b"[" if open.len() < DEPTH_MAX => open.push(Vec::new()),
                b"]" => close(&mut open),
                [] => {}
                line => add(&mut open, field(line)),
            }
        }
        while open.len() > 1 {
            close(&mut open);
        }
        Self(open.pop().unwrap_or_default())
    }

    /// What the decoder of a script makes of it.
    pub(crate) fn decoded<C: ScriptCall>(&self) -> Result<C::Outcome, ReplyFault> {
        read_answer::<C>(Value::Array(self.0.clone()))
    }

    /// The same with every integer as decimal text, as which any may come.
    pub(crate) fn with_integers_as_text(&self) -> Self {
        let Value::Array(fields) = as_text(&Value::Array(self.0.clone())) else {
            unreachable!("an array stays one");
        };
        Self(fields)
    }

    /// The same without its last field.
    pub(crate) fn cut(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }
}

fn add(open: &mut [Vec<Value>], field: Value) {
    if let Some(innermost) = open.last_mut() {
        innermost.push(field);
    }
}

/// Ends the innermost array; one too many ends nothing.
fn close(open: &mut Vec<Vec<Value>>) {
    if open.len() > 1
        && let Some(fields) = open.pop()
    {
        add(open, Value::Array(fields));
    }
}

fn field(line: &[u8]) -> Value {
    let number = line.get(1..).and_then(|rest| std::str::from_utf8(rest).ok());
    let known = match line {
        b"_" => Some(Value::Null),
        b"#t" => Some(Value::Boolean(true)),
        b"#f" => Some(Value::Boolean(false)),
        [b':', ..] => number.and_then(|text| text.parse().ok()).map(Value::Integer),
        [b',', ..] => number.and_then(|text| text.parse().ok()).map(Value::Double),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let text = line.strip_prefix(b"$").unwrap_or(line);
        match std::str::from_utf8(text) {
            Ok(text) => Value::from(text),
            Err(_) => Value::Bytes(Bytes::copy_from_slice(text)),
        }
    })
}

fn as_text(value: &Value) -> Value {
    match value {
        Value::Integer(number) => Value::from(number.to_string()),
        Value::Array(fields) => Value::Array(fields.iter().map(as_text).collect()),
        value => value.clone(),
    }
}
