//! JSON as RFC 8259 has it, read without cleverness; numbers and texts are left for later.

/// A value. Nothing is rounded, sorted or merged.
#[derive(Debug)]
pub(super) enum Json {
    Null,
    True,
    False,
    /// As it is written.
    Number(String),
    /// `None` for a half of a surrogate pair: right by the grammar, and no text.
    Text(Option<String>),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The value that `text` is; `None` if it is no JSON.
pub(super) fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { rest: text };
    // Lists and objects that are not closed yet: a deep one must not need a deep stack.
    let mut open = Vec::new();
    loop {
        reader.skip_space();
        let Some(mut value) = reader.container(&mut open)? else { continue };
        loop {
            reader.skip_space();
            let Some(around) = open.pop() else {
                return reader.rest.is_empty().then_some(value);
            };
            match reader.close(around, value, &mut open)? {
                Some(closed) => value = closed,
                None => break,
            }
        }
    }
}

enum Open {
    List(Vec<Json>),
    /// With the name of the member at hand.
    Object(Vec<(String, Json)>, String),
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn skip(&mut self, start: &str) -> bool {
        let rest = self.rest.strip_prefix(start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// A whole value, or `None` inside if a container was opened. The outer `None`: no JSON.
    #[expect(clippy::option_option, reason = "no JSON, a container opened, a value")]
    fn container(&mut self, open: &mut Vec<Open>) -> Option<Option<Json>> {
        if self.skip("[") {
            self.skip_space();
            if self.skip("]") {
                return Some(Some(Json::List(Vec::new())));
            }
            open.push(Open::List(Vec::new()));
            return Some(None);
        }
        if self.skip("{") {
            self.skip_space();
            if self.skip("}") {
                return Some(Some(Json::Object(Vec::new())));
            }
            open.push(Open::Object(Vec::new(), self.name()?));
            return Some(None);
        }
        self.scalar().map(Some)
    }

    /// What comes after a value inside a container: the container if it ends, `None` inside if it
    /// goes on. The outer `None`: no JSON.
    #[expect(clippy::option_option, reason = "no JSON, it goes on, it ends")]
    fn close(&mut self, around: Open, value: Json, open: &mut Vec<Open>) -> Option<Option<Json>> {
        let goes_on = self.skip(",");
        match around {
            Open::List(mut items) => {
                items.push(value);
                if goes_on {
                    open.push(Open::List(items));
                    return Some(None);
                }
                self.skip("]").then_some(Some(Json::List(items)))
            }
            Open::Object(mut members, name) => {
                members.push((name, value));
                if goes_on {
                    self.skip_space();
                    open.push(Open::Object(members, self.name()?));
                    return Some(None);
                }
                self.skip("}").then_some(Some(Json::Object(members)))
            }
        }
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Option<String> {
        let name = self.skip("\"").then(|| self.string())??;
        self.skip_space();
        self.skip(":").then_some(name)?
    }

    fn scalar(&mut self) -> Option<Json> {
        for (word, value) in [("null", Json::Null), ("true", Json::True), ("false", Json::False)] {
            if self.skip(word) {
                return Some(value);
            }
        }
        if self.skip("\"") {
            return self.string().map(Json::Text);
        }
        self.number().map(Json::Number)
    }

    fn number(&mut self) -> Option<String> {
        let start = self.rest;
        self.skip("-");
        if !self.skip("0") {
            self.digits()?;
        }
        if self.skip(".") {
            self.digits()?;
        }
        if self.skip("e") || self.skip("E") {
            let _ = self.skip("+") || self.skip("-");
            self.digits()?;
        }
        Some(start[..start.len() - self.rest.len()].to_owned())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(|next: char| next.is_ascii_digit());
        let some = rest.len() < self.rest.len();
        self.rest = rest;
        some.then_some(())
    }

    /// The rest of a string whose quote was read.
    #[expect(clippy::option_option, reason = "no JSON, no text, a text")]
    fn string(&mut self) -> Option<Option<String>> {
        let mut units: Vec<u16> = Vec::new();
        loop {
            let plain = match self.next()? {
                '"' => return Some(String::from_utf16(&units).ok()),
                '\\' => match self.next()? {
                    escaped @ ('"' | '\\' | '/') => escaped,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let digit = |next: char| next.to_digit(16);
                        let digits = [self.next()?, self.next()?, self.next()?, self.next()?];
                        let number =
                            digits.iter().try_fold(0, |n, next| Some(n * 16 + digit(*next)?));
                        units.push(u16::try_from(number?).ok()?);
                        continue;
                    }
                    _ => return None,
                },
                '\0'..'\u{20}' => return None,
                plain => plain,
            };
            units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
        }
    }
}
