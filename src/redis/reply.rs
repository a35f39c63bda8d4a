//! The answer of a script: `{tag, fields…}`, decoded field by field.

use fred::types::Value;

/// An answer that does not have the shape its script's header promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFault {
    /// A tag that the decoder does not know.
    #[error("unknown tag {0:?}")]
    Tag(String),
    /// A field is missing or of another type.
    #[error("field {index} is not {expected}")]
    Field {
        /// Position in the answer; the tag is 0.
        index: usize,
        /// What the decoder wanted.
        expected: &'static str,
    },
}

/// An array answered by Redis, read from front to back.
///
/// Integers may come as integers or as decimal strings: numbers above 2^53 and money are sent as
/// strings, because a Lua number is a double.
#[derive(Debug)]
pub struct Reply {
    fields: std::vec::IntoIter<Value>,
    index: usize,
}

impl Reply {
    pub(super) fn new(value: Value) -> Result<Self, ReplyFault> {
        match value {
            Value::Array(fields) => Ok(Self { fields: fields.into_iter(), index: 0 }),
            _ => Err(ReplyFault::Field { index: 0, expected: "an array" }),
        }
    }

    /// An answer of these texts, for the tests of a decoder.
    #[cfg(test)]
    pub(crate) fn of(fields: &[&str]) -> Self {
        let fields: Vec<Value> = fields.iter().map(|field| Value::from(*field)).collect();
        Self { fields: fields.into_iter(), index: 0 }
    }

    /// How many fields are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.fields.len()
    }

    fn next(&mut self, expected: &'static str) -> Result<Value, ReplyFault> {
        let index = self.index;
        self.index += 1;
        self.fields.next().ok_or(ReplyFault::Field { index, expected })
    }

    fn fault(&self, expected: &'static str) -> ReplyFault {
        ReplyFault::Field { index: self.index.saturating_sub(1), expected }
    }

    /// The next field as text (a tag, an id, a number as a string).
    pub fn text(&mut self) -> Result<String, ReplyFault> {
        match self.next("text")? {
            Value::String(text) => Ok(text.to_string()),
            Value::Bytes(bytes) => {
                String::from_utf8(bytes.to_vec()).map_err(|_| self.fault("UTF-8 text"))
            }
            Value::Integer(number) => Ok(number.to_string()),
            _ => Err(self.fault("text")),
        }
    }

    /// The next field as an integer that fits `T`.
    pub fn int<T: TryFrom<i64>>(&mut self) -> Result<T, ReplyFault> {
        let number = match self.next("an integer")? {
            Value::Integer(number) => Some(number),
            Value::String(text) => text.parse::<i64>().ok(),
            Value::Bytes(bytes) => std::str::from_utf8(&bytes).ok().and_then(|t| t.parse().ok()),
            _ => None,
        };
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| self.fault("an integer in range"))
    }

    /// The next field as an integer, or nothing if Redis sent nil or an empty string.
    pub fn optional_int<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, ReplyFault> {
        match self.fields.as_slice().first() {
            Some(Value::Null | Value::Boolean(false)) => self.next("an integer").map(|_| None),
            Some(Value::String(text)) if text.is_empty() => self.next("an integer").map(|_| None),
            _ => self.int().map(Some),
        }
    }

    /// The next field as text, or nothing if Redis sent nil or an empty string.
    pub fn optional_text(&mut self) -> Result<Option<String>, ReplyFault> {
        match self.fields.as_slice().first() {
            Some(Value::Null | Value::Boolean(false)) => self.next("text").map(|_| None),
            _ => self.text().map(|text| (!text.is_empty()).then_some(text)),
        }
    }

    /// The next field as an array of its own.
    pub fn list(&mut self) -> Result<Self, ReplyFault> {
        match self.next("an array")? {
            Value::Array(fields) => Ok(Self { fields: fields.into_iter(), index: 0 }),
            _ => Err(self.fault("an array")),
        }
    }

    /// The next field as raw bytes (a bitmap).
    pub fn bytes(&mut self) -> Result<bytes::Bytes, ReplyFault> {
        match self.next("bytes")? {
            Value::Bytes(bytes) => Ok(bytes),
            Value::String(text) => Ok(text.into_inner()),
            _ => Err(self.fault("bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_integers_or_as_strings_and_nothing_else() {
        let mut reply = Reply::new(Value::Array(vec![
            Value::from("held"),
            Value::from(7_i64),
            Value::from("8"),
            Value::from("9x"),
            Value::Null,
            Value::from(-1_i64),
        ]))
        .expect("an array");
        assert_eq!(reply.text().as_deref(), Ok("held"));
        assert_eq!(reply.int::<u64>(), Ok(7));
        assert_eq!(reply.int::<u64>(), Ok(8));
        assert!(matches!(reply.int::<u64>(), Err(ReplyFault::Field { index: 3, .. })));
        assert_eq!(reply.optional_int::<u64>(), Ok(None));
        assert!(reply.int::<u64>().is_err(), "negative numbers do not fit");
        assert!(matches!(reply.text(), Err(ReplyFault::Field { index: 6, .. })));
    }
}
