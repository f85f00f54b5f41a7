//! [`Blocks`]: reads server-sent events.

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) event: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// What has come of a stream and is not complete.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    text: Vec<u8>,
    block: Block,
}

impl Blocks {
    /// Adds a piece of the stream. `false` if a line becomes longer than any that offhook sends.
    pub(super) fn add(&mut self, piece: &[u8]) -> bool {
        self.text.extend_from_slice(piece);
        self.text.len() <= LONGEST
    }

    /// The next complete event; one without a name and data only says where to go on.
    pub(super) fn next(&mut self) -> Option<Block> {
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let block = std::mem::take(&mut self.block);
                if block != Block::default() {
                    return Some(block);
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.block.event),
                "id" => self.block.id = Some(value.to_owned()),
                "data" => self.block.data.push_str(value),
                // A comment, or `retry`.
                _ => {}
            }
        }
        None
    }
}

const LONGEST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_in_any_pieces() {
        let stream = "retry: 2000\nid: 7\n\n: \n\nid: 8.1\nevent: event\ndata: {\"a\":\"é\"}\n\nevent: bye\r\ndata: {}\r\n\r\nid: 9\n";
        let block = |event: &str, id: Option<&str>, data: &str| Block {
            event: event.to_owned(),
            id: id.map(str::to_owned),
            data: data.to_owned(),
        };
        let expected = [
            block("", Some("7"), ""),
            block("event", Some("8.1"), r#"{"a":"é"}"#),
            block("bye", None, "{}"),
        ];
        for length in [1, 2, 3, 7, stream.len()] {
            let mut blocks = Blocks::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(length) {
                assert!(blocks.add(piece));
                found.extend(std::iter::from_fn(|| blocks.next()));
            }
            assert_eq!(found, expected, "{length}");
        }
    }
}
