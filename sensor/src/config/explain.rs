//! What is said of a file that says something wrong.

/// What is wrong, in which line, with the nearest known name where a name is unknown.
pub(super) fn explain(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    let message = error.message();
    let key = error.span().and_then(|span| key_at(text, span.start)).filter(|key| !message.contains(key));
    let place = key.map_or_else(|| place.clone(), |key| format!("{place}{key}: "));
    match unknown(message).and_then(|(name, known)| nearest(name, &known)) {
        Some(near) => format!("{place}{message}; did you mean `{near}`?"),
        None => format!("{place}{message}"),
    }
}

/// The key of the line in which something is wrong, if it looks like one.
fn key_at(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let key = text.get(start..)?.split(['=', '\n']).next()?.trim();
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    (plain && !key.is_empty()).then_some(key)
}

/// The unknown name and the known ones of serde's message, which puts each in backquotes.
fn unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    if !message.starts_with("unknown field") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    Some((names.next()?, names.collect()))
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().copied().min_by_key(|candidate| distance(name, candidate))
}

/// Letters to change, add or take away to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, to) in b.iter().enumerate() {
            let (left, above) = (row.get(j).copied().unwrap_or(0), row.get(j + 1).copied().unwrap_or(0));
            let best = (diagonal + usize::from(from != *to)).min(left + 1).min(above + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = best;
            }
        }
    }
    row.last().copied().unwrap_or(0)
}
