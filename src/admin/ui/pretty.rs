//! JSON with a line for each value, in the order of its sender, and with its own numbers.

/// Indents a JSON text. It is valid; its tokens stay as they are.
pub(super) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = &rest[..token(rest, first)];
        rest = rest[token.len()..].trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                shown.push_str(token);
                shown.push_str(&rest[..1]);
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                depth += 1;
                shown.push_str(token);
                new_line(&mut shown, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut shown, depth);
                shown.push_str(token);
            }
            ',' => {
                shown.push_str(token);
                new_line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            _ => shown.push_str(token),
        }
    }
    shown
}

/// How long the token at the beginning is.
fn token(text: &str, first: char) -> usize {
    match first {
        '{' | '}' | '[' | ']' | ',' | ':' => 1,
        '"' => {
            let mut is_escaped = false;
            let end = text.bytes().skip(1).position(|byte| {
                let ends = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                ends
            });
            end.map_or(text.len(), |end| end + 2)
        }
        first => {
            let ends = |c: char| "{}[],:\"".contains(c) || c.is_whitespace();
            text.find(ends).unwrap_or(text.len()).max(first.len_utf8())
        }
    }
}

/// Deep values stand below each other at some point, so that the text does not grow without limit.
fn new_line(shown: &mut String, depth: usize) {
    shown.push('\n');
    shown.push_str(&"  ".repeat(depth.min(MOST_INDENTED)));
}

const MOST_INDENTED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_numbers_and_texts_stay() {
        let text = r#" {"b":[1.50,{}, [] ,"x\\\"{,"],"a" :null}"#;
        let shown = "{\n  \"b\": [\n    1.50,\n    {},\n    [],\n    \"x\\\\\\\"{,\"\n  ],\n  \"a\": null\n}";
        assert_eq!(json(text), shown);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_its_tokens_stay(text in "[ \\[\\]{}:,\"a1é\\\\]{0,40}") {
            let without_space = |text: &str| text.replace([' ', '\n'], "");
            proptest::prop_assert_eq!(without_space(&json(&text)), without_space(&text));
        }
    }
}
