//! What is known of files, for a person.

use super::Item;
use crate::{
    format::{severity, table::span, text::escape},
    reputation::{Answer, Verdict, decisive},
};

/// The verdict in a sentence.
pub(super) fn sentence(item: &Item) -> String {
    let name = &item.name;
    let Some(answer) = decisive(&item.answers).filter(|answer| answer.verdict != Verdict::Unknown) else {
        return format!("unknown: nobody who was asked knows {name}, which doesn't make it clean");
    };
    let detail = told(answer);
    match answer.verdict {
        Verdict::Malicious => format!("malicious: {name}: {detail}"),
        Verdict::KnownGood => format!("known good: {name}: {detail}"),
        Verdict::Suspicious => format!("suspicious: {name}: {detail}"),
        Verdict::Undetected | Verdict::Unknown => format!("nobody objects to {name}: {detail}"),
    }
}

/// What a source says, with its age.
fn told(answer: &Answer) -> String {
    let age = answer.age_s.map(|age| format!(" (asked {} ago)", span(age))).unwrap_or_default();
    escape_lines(&format!("{}{age}", answer.detail))
}

/// What others wrote may hold anything.
fn escape_lines(text: &str) -> String {
    let safe = |c: char| !crate::format::misleads(c);
    text.chars().map(|c| if safe(c) { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

/// Each file: the verdict, its hash, who says what; the worst first.
pub(super) fn text(items: &[Item], colour: bool) -> String {
    let mut items: Vec<&Item> = items.iter().collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.verdict().severity()));
    items.into_iter().map(|item| one(item, colour)).collect()
}

fn one(item: &Item, colour: bool) -> String {
    let odd = item.verdict().severity();
    let first = match colour && odd != 0 {
        true => format!("\x1b[{}m{}\x1b[0m\n", severity(odd).1, sentence(item)),
        false => format!("{}\n", sentence(item)),
    };
    let source = |answer: &Answer| escape(answer.source.as_bytes());
    let wide = item.answers.iter().map(|answer| source(answer).chars().count()).max().unwrap_or(0).max(6);
    let mut lines = format!("    {:wide$}  {}\n", "sha256", item.sha256.to_str_lossy());
    for answer in &item.answers {
        lines.push_str(&format!("    {:wide$}  {}\n", source(answer), told(answer)));
    }
    first + &lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_stands_first_and_unknown_is_not_clean() {
        let item = |answers| Item {
            sha256: "a".repeat(64).into(),
            name: "/bin/x".to_owned(),
            hashed: None,
            answers,
        };
        let kept =
            Answer { age_s: Some(3700), ..Answer::local("list\n", Verdict::Malicious, "it is\x1b on it") };
        let items = [item(Vec::new()), item(vec![kept])];
        let all = text(&items, false);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines[0], "malicious: /bin/x: it is\\u{1b} on it (asked 1h01m ago)");
        assert!(lines[2].starts_with("    $'list\\x0a'  it is"), "{all}");
        assert!(lines[3].ends_with("which doesn't make it clean"), "{all}");
        assert!(text(&items, true).starts_with("\x1b[1;31mmalicious"));
    }
}
