//! Server-Sent Events (WHATWG HTML, section 9.2): bytes in, events out.

/// The longest line; a page of a snapshot is far shorter.
const LINE_MAX: usize = 64 * 1024 * 1024;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// What kind; empty if it has none.
    pub(crate) name: String,
    /// What a client sends when it comes back.
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// Cuts a stream into events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    rest: Vec<u8>,
    event: Event,
}

impl Reader {
    /// Takes the next bytes; the events that they complete. Fails on a line without an end.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, String> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.len() > LINE_MAX {
                return Err(format!("a line is longer than {LINE_MAX} bytes"));
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                let line = String::from_utf8_lossy(&line);
                events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (event != Event::default()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, and what nobody uses here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let text =
            ": hello\n\nevent: change\r\nid: 7\ndata: {\"a\":\ndata: 1}\n\nid: 8\ndata: {}\n\n";
        let whole = Reader::default().take(text.as_bytes()).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].name.as_str(), whole[0].data.as_str()), ("change", "{\"a\":\n1}"));
        assert_eq!((whole[0].id.as_deref(), whole[1].id.as_deref()), (Some("7"), Some("8")));
        let mut reader = Reader::default();
        let bytes = text.as_bytes().chunks(1);
        let cut: Vec<Event> = bytes.flat_map(|byte| reader.take(byte).unwrap()).collect();
        assert_eq!(cut, whole);
    }
}
