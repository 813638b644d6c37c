//! A Rust file as words, marks and texts: no comments, and test code known as such.

use std::path::Path;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier, a keyword or a number.
    Word,
    /// Punctuation; `::` is one mark.
    Mark,
    /// The inside of a string literal, escapes unread.
    Text,
}

/// A piece of source.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) line: usize,
    /// Whether it stands in code that only tests compile.
    pub(super) test: bool,
}

impl Token {
    /// Whether it is this word or mark.
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// A file's tokens.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) tokens: Vec<Token>,
}

impl Source {
    /// Cuts a file into tokens.
    pub(super) fn read(file: &Path, text: &str) -> Self {
        let mut scanner = Scanner { rest: text, line: 1, tokens: Vec::new() };
        while scanner.step() {}
        let mut tokens = scanner.tokens;
        if file.file_stem().is_some_and(|stem| stem == "tests") {
            tokens.iter_mut().for_each(|token| token.test = true);
        }
        mark_tests(&mut tokens);
        Self { tokens }
    }

    /// How many lines hold test code.
    pub(super) fn test_lines(&self) -> usize {
        let mut lines = 0;
        let mut first = None;
        let ended = self.tokens.iter().map(Some).chain([None]);
        let mut last = 0;
        for token in ended {
            match (token, first) {
                (Some(token), None) if token.test => first = Some(token.line),
                (Some(token), Some(_)) if token.test => {}
                (_, Some(start)) => {
                    lines += last + 1 - start;
                    first = None;
                }
                (_, None) => {}
            }
            last = token.map_or(last, |token| token.line);
        }
        lines
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    /// Takes one token or one stretch without any; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(comment(self.rest));
        } else if let Some((before, inside, after)) = string(self.rest) {
            self.take(Kind::Text, before, inside, after);
        } else if first == '\'' {
            self.skip(quote(self.rest));
        } else if is_word(first) {
            let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
            self.take(Kind::Word, 0, end, 0);
        } else if self.rest.starts_with("::") {
            self.take(Kind::Mark, 0, 2, 0);
        } else {
            self.take(Kind::Mark, 0, first.len_utf8(), 0);
        }
        true
    }

    fn take(&mut self, kind: Kind, before: usize, inside: usize, after: usize) {
        let text = self.rest[before..before + inside].to_owned();
        self.tokens.push(Token { kind, text, line: self.line, test: false });
        self.skip(before + inside + after);
    }

    fn skip(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a block comment; they nest.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match rest.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => break,
            }
        }
    }
    text.len()
}

/// The lengths of a string literal's opening, inside and closing, if one starts here.
fn string(text: &str) -> Option<(usize, usize, usize)> {
    let letters = text.find(|c: char| !matches!(c, 'b' | 'c' | 'r'))?;
    let raw = text[..letters].contains('r');
    let hashes = text[letters..].bytes().take_while(|b| *b == b'#').count();
    let open = letters + hashes;
    if letters > 2 || (hashes > 0 && !raw) || !text[open..].starts_with('"') {
        return None;
    }
    let inside = &text[open + 1..];
    let length = if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        inside.find(&close).unwrap_or(inside.len())
    } else {
        unescaped_end(inside)
    };
    let after = (inside.len() - length).min(1 + hashes);
    Some((open + 1, length, after))
}

fn unescaped_end(inside: &str) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            '"' if !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    inside.len()
}

/// The length of a character literal, or of a lifetime's quote.
fn quote(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        // The escaped character itself may be a quote.
        Some((_, '\\')) => {
            chars.next();
            chars.find(|(_, c)| *c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// Marks the items under `#[cfg(test)]` and `#[test]`.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some(attribute) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        if !is_for_tests(&tokens[at..attribute]) {
            at = attribute;
            continue;
        }
        let end = item_end(tokens, attribute);
        tokens[at..end].iter_mut().for_each(|token| token.test = true);
        at = end;
    }
}

/// Where an outer attribute that starts at `at` ends.
fn attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    let starts = tokens.get(at)?.is("#") && tokens.get(at + 1)?.is("[");
    starts.then(|| closed(tokens, at + 1, "[", "]"))
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| token.is(word));
    let bare = attribute.len() == 4;
    has("test") && !has("not") && (has("cfg") || bare)
}

/// Where the item at `at` ends, its further attributes included.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while let Some(end) = attribute_end(tokens, at) {
        at = end;
    }
    while let Some(token) = tokens.get(at) {
        if token.is("{") {
            return closed(tokens, at, "{", "}");
        }
        at += 1;
        if token.is(";") {
            return at;
        }
    }
    tokens.len()
}

/// The place after the mark that closes the one at `at`.
fn closed(tokens: &[Token], at: usize, open: &str, close: &str) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token.is(open) {
            depth += 1;
        } else if token.is(close) {
            depth -= 1;
            if depth == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let source = Source::read(Path::new("a.rs"), text);
        source.tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn leaves_comments_out() {
        assert_eq!(words("a // b\n/* c /* d */ e */ f"), ["a", "f"]);
    }

    #[test]
    fn keeps_texts_whole() {
        assert_eq!(
            words(r##"x("a\"b", r#"c"d"#, b"e")"##),
            ["x", "(", r#"a\"b"#, ",", r#"c"d"#, ",", "e", ")"]
        );
        assert_eq!(words(r#"break "unended"#), ["break", "unended"]);
    }

    #[test]
    fn tells_characters_from_lifetimes() {
        assert_eq!(words(r"a('\'', '/', '\\', 'é') &'b c"), ["a", "(", ",", ",", ",", ")", "&", "b", "c"]);
    }

    #[test]
    fn knows_test_code() {
        let text = "fn a() {}\n#[cfg(test)]\n#[x]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let source = Source::read(Path::new("a.rs"), text);
        let inside = |word: &str| source.tokens.iter().any(|t| t.is(word) && t.test);
        assert!(inside("b"));
        assert!(!inside("a"));
        assert!(!inside("c"));
        assert_eq!(source.test_lines(), 5);
    }

    #[test]
    fn code_without_tests_is_no_test_code() {
        let text = "#[cfg(not(test))]\nfn a() {}\n#[derive(Debug)]\nstruct B;\n";
        assert_eq!(Source::read(Path::new("a.rs"), text).test_lines(), 0);
        assert_eq!(Source::read(Path::new("x/tests.rs"), text).test_lines(), 4);
    }
}
