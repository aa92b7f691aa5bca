//! Rust source as a flat list of words and signs, each with its line.
//!
//! Comments, strings, character literals, lifetimes and items under `#[cfg(test)]` are
//! gone: what is left is what production code says. Deliberately not a parser, and no
//! types: the checks above need names in order, nothing else.
//! INVARIANT: never fails; source that does not compile gives some list, and the compiler
//! complains elsewhere.

use std::iter::Peekable;
use std::str::Chars;

/// One word (identifier, keyword, number) or one sign; `::` is a single token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Token {
    /// True for identifiers and keywords.
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(is_word_start)
    }
}

/// What production code says, in order.
pub(super) fn production(source: &str) -> Vec<Token> {
    without_test_items(&read(source))
}

fn is_word_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_word_part(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

fn read(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source.chars().peekable(), line: 1 };
    let mut tokens = Vec::new();
    while let Some(c) = reader.next() {
        tokens.extend(reader.token(c));
    }
    tokens
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.next();
        self.line += usize::from(c == Some('\n'));
        c
    }

    fn next_if(&mut self, wanted: char) -> bool {
        let is_there = self.rest.peek() == Some(&wanted);
        if is_there {
            self.next();
        }
        is_there
    }

    fn skip_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(&c) = self.rest.peek() {
            if !accept(c) {
                break;
            }
            taken.push(c);
            self.next();
        }
        taken
    }

    /// What begins with `c`; `None` if that is no token but a comment, a literal, space.
    fn token(&mut self, c: char) -> Option<Token> {
        let line = self.line;
        let text = match c {
            '/' if self.next_if('/') => {
                self.skip_while(|c| c != '\n');
                return None;
            }
            '/' if self.next_if('*') => {
                self.block_comment();
                return None;
            }
            '"' => {
                self.string();
                return None;
            }
            '\'' => {
                self.character_or_lifetime();
                return None;
            }
            ':' if self.next_if(':') => "::".to_owned(),
            c if is_word_part(c) => return self.word(c, line),
            c if c.is_whitespace() => return None,
            c => c.to_string(),
        };
        Some(Token { text, line })
    }

    /// A word, or the literal it is the prefix of: `b"…"`, `r#"…"#`, `b'…'`.
    fn word(&mut self, first: char, line: usize) -> Option<Token> {
        let mut text = String::from(first);
        text.push_str(&self.skip_while(is_word_part));
        let is_raw = matches!(text.as_str(), "r" | "br" | "cr");
        match self.rest.peek() {
            Some('"') if is_raw => {
                self.raw_string(0);
                return None;
            }
            Some('"') if matches!(text.as_str(), "b" | "c") => {
                self.next();
                self.string();
                return None;
            }
            Some('\'') if text == "b" => {
                self.next();
                self.character_or_lifetime();
                return None;
            }
            Some('#') if is_raw => {
                let hashes = self.skip_while(|c| c == '#').len();
                if self.rest.peek() == Some(&'"') {
                    self.raw_string(hashes);
                    return None;
                }
                // A raw identifier: the name without its mark.
                text = self.skip_while(is_word_part);
            }
            _ => {}
        }
        Some(Token { text, line })
    }

    fn block_comment(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some('*') if self.next_if('/') => depth -= 1,
                Some('/') if self.next_if('*') => depth += 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// After the opening quote.
    fn string(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\\' => {
                    self.next();
                }
                '"' => return,
                _ => {}
            }
        }
    }

    /// At the opening quote.
    fn raw_string(&mut self, hashes: usize) {
        self.next();
        while let Some(c) = self.next() {
            if c != '"' {
                continue;
            }
            let mut seen = 0;
            while seen < hashes && self.next_if('#') {
                seen += 1;
            }
            if seen == hashes {
                return;
            }
        }
    }

    /// After the quote: `'\n'`, `'x'`, or a lifetime, which has no second quote.
    fn character_or_lifetime(&mut self) {
        if self.next_if('\\') {
            self.next();
            self.skip_while(|c| c != '\'');
            self.next();
            return;
        }
        let mut ahead = self.rest.clone();
        ahead.next();
        if ahead.peek() == Some(&'\'') {
            self.next();
            self.next();
        } else {
            self.skip_while(is_word_part);
        }
    }
}

/// Leaves out whatever follows `#[cfg(test)]`, to its `;` or its closing brace.
fn without_test_items(tokens: &[Token]) -> Vec<Token> {
    const MARK: &[&str] = &["#", "[", "cfg", "(", "test", ")", "]"];
    const FILE_MARK: &[&str] = &["#", "!", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = tokens;
    while let Some((first, tail)) = rest.split_first() {
        if starts_with(rest, FILE_MARK) {
            return Vec::new();
        }
        if starts_with(rest, MARK) {
            rest = after_item(rest.get(MARK.len()..).unwrap_or_default());
        } else {
            kept.push(first.clone());
            rest = tail;
        }
    }
    kept
}

fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(t, text)| t.text == *text)
}

fn after_item(mut rest: &[Token]) -> &[Token] {
    let mut depth = 0_usize;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth <= 1 => return rest,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return rest,
            _ => {}
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        production(source).into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn comments_and_literals_are_gone_and_lines_are_right() {
        let source = "// crate::a\n/* crate::b /* nested */ \n */ fn f<'a>() {\n \
                      let s = \"crate::c \\\" crate::d\"; let r = r#\"x\" crate::e\"#;\n\
                      let c = ('\"', '\\'', b'x', b\"crate::f\"); g(); }";
        let tokens = production(source);
        assert!(tokens.iter().all(|t| t.text != "crate"), "{tokens:?}");
        let call = tokens.iter().find(|t| t.text == "g").unwrap();
        assert_eq!(call.line, 5);
    }

    #[test]
    fn a_lifetime_does_not_swallow_what_follows() {
        assert_eq!(words("&'a str, 'static"), ["&", "str", ","]);
    }

    #[test]
    fn raw_identifiers_lose_their_mark() {
        assert_eq!(words("r#type::r"), ["type", "::", "r"]);
    }

    #[test]
    fn test_items_are_left_out_and_what_follows_them_is_kept() {
        let source = "a; #[cfg(test)] #[allow(x)] mod tests { fn f() { b } } c; \
                      #[cfg(test)] mod more; d; #[cfg(test)] fn g(x: [u8; 2]) { e } f";
        assert_eq!(words(source), ["a", ";", "c", ";", "d", ";", "f"]);
    }

    #[test]
    fn a_file_that_is_all_test_is_empty() {
        assert!(words("//! x\n#![cfg(test)]\nuse crate::a;").is_empty());
    }

    #[test]
    fn unfinished_source_ends_instead_of_hanging() {
        for source in ["\"abc", "r##\"abc\"#", "/* abc", "'", "'\\", "#[cfg(test)] mod t {"] {
            let _ = words(source);
        }
    }
}
