//! Words that stay out of every file: promises of later work, and paths of one machine.

use std::path::Path;

use super::Finding;

/// Written in pieces, or this file would break the rule.
const WORDS: &[Word] = &[
    word(concat!("TO", "DO"), "do it, or leave it out"),
    word(concat!("FIX", "ME"), "fix it"),
    word(concat!("XX", "X"), "say what is meant"),
    word(concat!("for", " now"), "say until when, or do it"),
    word(concat!("/wo", "rk/"), "a path of one machine"),
    word(concat!("/tmp/", "boot"), "a path of one machine"),
];

struct Word {
    text: &'static str,
    advice: &'static str,
}

const fn word(text: &'static str, advice: &'static str) -> Word {
    Word { text, advice }
}

/// Checks one file. Lock files are written by a program.
pub(super) fn check(file: &Path, text: &str, findings: &mut Vec<Finding>) {
    if file.extension().is_some_and(|extension| extension == "lock") {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        for word in WORDS.iter().filter(|word| holds(line, word.text)) {
            findings.push(Finding {
                file: file.to_owned(),
                line: index + 1,
                what: format!("`{}`: {}", word.text, word.advice),
            });
        }
    }
}

/// Whether the word stands in the line by itself.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        // A path may go on.
        let ends = word.ends_with('/') || !after.is_some_and(letter);
        !before.is_some_and(letter) && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_words_by_themselves() {
        let [first, ..] = WORDS else {
            panic!("no words");
        };
        assert!(holds(&format!("// {}: x", first.text), first.text));
        assert!(!holds(&format!("MAS{}N", first.text), first.text));
        assert!(holds("see /a/b", "/a/"));
        assert!(!holds("see /home/a/b", "/a/"));
    }

    #[test]
    fn leaves_lock_files_alone() {
        let mut findings = Vec::new();
        check(Path::new("Cargo.lock"), WORDS[0].text, &mut findings);
        assert_eq!(findings, []);
        check(Path::new("a.md"), WORDS[0].text, &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
