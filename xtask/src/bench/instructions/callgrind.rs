//! What callgrind writes: of each call how many instructions it took, with all that it called.

use std::collections::{BTreeMap, HashMap};

/// Instructions of all calls of each function, with those of what it called. One that calls itself counts more than once.
pub(super) fn inclusive(text: &str) -> BTreeMap<String, u64> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut sums = BTreeMap::new();
    let (mut called, mut costs) = (None, false);
    for line in text.lines() {
        if costs {
            // The line behind a call: where it is, and its cost.
            costs = false;
            if let (Some(name), Some(cost)) =
                (called, line.split(' ').next_back().and_then(|cost| cost.parse::<u64>().ok()))
                && let Some(name) = names.get(name)
            {
                *sums.entry((*name).to_owned()).or_insert(0) += cost;
            }
        } else if let Some(function) = line.strip_prefix("cfn=") {
            called = Some(note(function, &mut names));
        } else if let Some(function) = line.strip_prefix("fn=") {
            note(function, &mut names);
        } else {
            costs = line.starts_with("calls=");
        }
    }
    sums
}

/// A function is named once, and has a number from then on.
fn note<'t>(function: &'t str, names: &mut HashMap<&'t str, &'t str>) -> &'t str {
    let Some((number, name)) = function.split_once(") ") else {
        return function.strip_suffix(')').unwrap_or(function);
    };
    names.insert(number, name);
    number
}

/// Whether a function is the one with this end of its path; it may have a hash behind, or a mark of recursion.
pub(super) fn is(function: &str, end: &str) -> bool {
    let path = function.split('\'').next().unwrap_or_default();
    let path = match path.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => path,
    };
    path.strip_suffix(end).is_some_and(|before| before.ends_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
events: Ir
fn=(1) main
12 3
cfn=(2) replay::counted::exec
calls=2 40
13 500
fn=(2)
40 200
cfn=(3) replay::counted::decode::h0123456789abcdef
calls=2 60
41 300
fn=(4) replay::other
1 1
cfn=(3)
calls=1 60
2 7
totals: 1011
";

    #[test]
    fn all_calls_of_a_function_count() {
        let sums = inclusive(TEXT);
        let of =
            |end: &str| sums.iter().filter(|(name, _)| is(name, end)).map(|(_, cost)| *cost).sum::<u64>();
        assert_eq!((of("counted::exec"), of("counted::decode"), of("counted::exit")), (500, 307, 0));
    }

    #[test]
    fn only_whole_names_are_meant() {
        assert!(is("replay::counted::exec", "counted::exec"));
        assert!(!is("replay::counted::executed", "counted::exec"));
        assert!(!is("replay::recounted::exec", "counted::exec"));
    }
}
