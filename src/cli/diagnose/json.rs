//! Writes JSON as other programs write it, with its keys in their order.

use serde_json::Number;

use super::parsed::Json;

/// How a program writes JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    comma: &'static str,
    colon: &'static str,
    indent: &'static str,
    /// Everything outside ASCII is written `\u…`.
    ascii: bool,
    /// `/` is written `\/`.
    slash: bool,
    /// `<`, `>` and `&` are written `\u…`.
    html: bool,
    /// 1.0 is written 1.
    short_numbers: bool,
}

impl Style {
    /// All styles, with their names in the sentence "the JSON is written …".
    pub(super) const ALL: [(&'static str, Self); 10] = [
        ("compactly (JSON.stringify)", JAVASCRIPT),
        ("with spaces after , and : (Python's json.dumps)", PYTHON),
        (
            "with spaces after , and :",
            Style {
                ascii: false,
                ..PYTHON
            },
        ),
        (
            "compactly in ASCII (Python's separators=(\",\", \":\"))",
            Style {
                comma: ",",
                colon: ":",
                ..PYTHON
            },
        ),
        (
            "as PHP's json_encode does",
            Style {
                ascii: true,
                slash: true,
                ..JAVASCRIPT
            },
        ),
        (
            "as Go's json.Marshal does",
            Style {
                html: true,
                ..JAVASCRIPT
            },
        ),
        (
            "with an indentation of 2",
            Style {
                indent: "  ",
                colon: ": ",
                ..JAVASCRIPT
            },
        ),
        (
            "with an indentation of 4",
            Style {
                indent: "    ",
                colon: ": ",
                ..JAVASCRIPT
            },
        ),
        (
            "with an indentation of 2 in ASCII",
            Style {
                indent: "  ",
                comma: ",",
                ..PYTHON
            },
        ),
        (
            "with an indentation of 4 in ASCII",
            Style {
                indent: "    ",
                comma: ",",
                ..PYTHON
            },
        ),
    ];
}

const JAVASCRIPT: Style = Style {
    comma: ",",
    colon: ":",
    indent: "",
    ascii: false,
    slash: false,
    html: false,
    short_numbers: true,
};

const PYTHON: Style = Style {
    comma: ", ",
    colon: ": ",
    indent: "",
    ascii: true,
    slash: false,
    html: false,
    short_numbers: false,
};

impl Json {
    /// Writes the JSON; with `sorted`, its keys are in alphabetical order.
    pub(super) fn write(&self, style: Style, sorted: bool) -> String {
        let mut writer = Writer {
            style,
            sorted,
            out: String::new(),
        };
        writer.value(self, 0);
        writer.out
    }
}

struct Writer {
    style: Style,
    sorted: bool,
    out: String,
}

impl Writer {
    fn value(&mut self, value: &Json, depth: usize) {
        match value {
            Json::Null => self.out.push_str("null"),
            Json::Bool(value) => self.out.push_str(&value.to_string()),
            Json::Number(number) => self.number(number),
            Json::Text(text) => self.text(text),
            Json::List(items) => self.all('[', ']', depth, items, |writer, item| {
                writer.value(item, depth + 1);
            }),
            Json::Object(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                if self.sorted {
                    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                }
                self.all('{', '}', depth, &entries, |writer, (key, value)| {
                    writer.text(key);
                    writer.out.push_str(writer.style.colon);
                    writer.value(value, depth + 1);
                });
            }
        }
    }

    fn all<T>(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        items: &[T],
        each: impl Fn(&mut Self, &T),
    ) {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push_str(self.style.comma);
            }
            self.line_break(depth + 1);
            each(self, item);
        }
        if !items.is_empty() {
            self.line_break(depth);
        }
        self.out.push(close);
    }

    fn line_break(&mut self, depth: usize) {
        if !self.style.indent.is_empty() {
            self.out.push('\n');
            self.out.push_str(&self.style.indent.repeat(depth));
        }
    }

    fn number(&mut self, number: &Number) {
        let whole = number.as_f64().filter(|float| {
            number.is_f64()
                && self.style.short_numbers
                && float.fract() == 0.0
                && float.abs() < 1e21
        });
        match whole {
            Some(float) => self.out.push_str(&format!("{float:.0}")),
            None => self.out.push_str(&number.to_string()),
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '/' if self.style.slash => self.out.push_str("\\/"),
                '<' | '>' | '&' if self.style.html => self.escape(character),
                control if control < ' ' => self.escape(control),
                other if self.style.ascii && !other.is_ascii() => self.escape(other),
                plain => self.out.push(plain),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed::parse;
    use super::*;

    #[test]
    fn every_style_writes_as_its_program_does() {
        let text = r#"{ "b" : [1, 2.0, -3, {}] , "a":"é👍/<\u0001\n", "c": null }"#;
        let table = [
            r#"{"b":[1,2,-3,{}],"a":"é👍/<\u0001\n","c":null}"#,
            r#"{"b": [1, 2.0, -3, {}], "a": "\u00e9\ud83d\udc4d/<\u0001\n", "c": null}"#,
            r#"{"b": [1, 2.0, -3, {}], "a": "é👍/<\u0001\n", "c": null}"#,
            r#"{"b":[1,2.0,-3,{}],"a":"\u00e9\ud83d\udc4d/<\u0001\n","c":null}"#,
            r#"{"b":[1,2,-3,{}],"a":"\u00e9\ud83d\udc4d\/<\u0001\n","c":null}"#,
            r#"{"b":[1,2,-3,{}],"a":"é👍/\u003c\u0001\n","c":null}"#,
        ];
        let json = parse(text.as_bytes()).unwrap();
        for ((name, style), expected) in Style::ALL.iter().zip(table) {
            assert_eq!(json.write(*style, false), expected, "{name}");
        }
        let indented = "{\n  \"a\": \"x\",\n  \"b\": [\n    1\n  ],\n  \"c\": []\n}";
        let json = parse(br#"{"b":[1],"a":"x","c":[]}"#).unwrap();
        for index in [6, 8] {
            assert_eq!(json.write(Style::ALL[index].1, true), indented);
        }
        assert!(parse(b"no JSON").is_none());
    }
}
