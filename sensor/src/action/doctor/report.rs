//! The report for a person: what is seen of each event, the worst first, and below why.

use std::fmt::Write as _;

use crate::{
    event::{
        ACTIONS,
        coverage::{Coverage, Gap, State},
    },
    format::misleads,
};

/// Cells of a line, where that can be.
const WIDTH: usize = 100;
/// How far an event is seen, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sight {
    Unseen,
    Part,
    Off,
    Whole,
}

impl Sight {
    fn of(states: &[State]) -> Self {
        let any = |wanted: fn(State) -> bool| states.iter().any(|state| wanted(*state));
        let (served, lacks) = (any(|state| state == State::Seen), any(State::lacks));
        match (served, lacks) {
            (false, true) => Self::Unseen,
            (true, true) => Self::Part,
            (true, false) => Self::Whole,
            (false, false) => Self::Off,
        }
    }

    /// Its word, and the colour in which it is shown (ECMA-48, SGR).
    fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Unseen => ("UNSEEN", "1;31"),
            Self::Part => ("part", "33"),
            Self::Off => ("off", "2"),
            Self::Whole => ("seen", "32"),
        }
    }
}

/// The report of rows that stand in order.
pub fn text(rows: &[Coverage], colour: bool) -> String {
    let mut events: Vec<_> = ACTIONS
        .iter()
        .filter_map(|action| {
            let own: Vec<_> = rows.iter().filter(|row| row.action == action.name).collect();
            let states: Vec<_> = own.iter().map(|row| row.state).collect();
            (!own.is_empty()).then(|| (Sight::of(&states), action.name, own))
        })
        .collect();
    events.sort_by_key(|(seen, ..)| *seen);
    let mut out = headline(&events.iter().map(|(seen, ..)| *seen).collect::<Vec<_>>());
    let _ = writeln!(out, "\n{:<7} {:<16} SEEN BY", "STATE", "EVENT");
    for (seen, action, own) in &events {
        let hooks: Vec<_> = own.iter().filter(|row| row.state == State::Seen).map(|row| row.hook).collect();
        let hooks = if hooks.is_empty() { "-".to_owned() } else { hooks.join(", ") };
        let (word, code) = seen.word();
        let padding = " ".repeat(7_usize.saturating_sub(word.len()));
        let head = format!("{}{padding} {action:<16}", painted(word, code, colour));
        out.push_str(&beside(&head, 24, &hooks));
    }
    for cause in causes(rows) {
        out.push_str(&cause.text(rows, colour));
    }
    out
}

/// Rows with one cause.
struct Cause<'r> {
    rows: Vec<&'r Coverage>,
}

/// The causes, in the order of the rows.
fn causes(rows: &[Coverage]) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    let same = |a: &Coverage, b: &Coverage| {
        let of = |row: &Coverage| (row.state, row.gap.clone().effect(""));
        of(a) == of(b)
    };
    for row in rows.iter().filter(|row| row.gap != Gap::default()) {
        match causes.iter_mut().find(|cause| cause.rows.iter().any(|other| same(row, other))) {
            Some(cause) => cause.rows.push(row),
            None => causes.push(Cause { rows: vec![row] }),
        }
    }
    causes
}

impl Cause<'_> {
    fn text(&self, all: &[Coverage], colour: bool) -> String {
        let Some(first) = self.rows.first() else { return String::new() };
        let code = if first.state.lacks() { "1" } else { "2" };
        let mut out = String::from("\n");
        let gap = &first.gap;
        for (what, text) in
            [(first.state.word(), &gap.reason), ("missing", &gap.missing), ("do", &gap.remedy)]
        {
            if !text.is_empty() {
                let padding = " ".repeat(9_usize.saturating_sub(what.len()));
                let head = if text == &gap.reason { painted(what, code, colour) } else { what.to_owned() };
                out.push_str(&beside(&format!("{head}{padding}"), 9, text));
            }
        }
        // Where nothing is seen the table says all.
        if self.rows.len() < all.len() {
            let mut said: Vec<(&str, &str)> = Vec::new();
            for row in &self.rows {
                if !said.contains(&(row.hook, &row.gap.effect)) {
                    said.push((row.hook, &row.gap.effect));
                    let effect =
                        if row.gap.effect.is_empty() { "nothing is missed" } else { &row.gap.effect };
                    out.push_str(&beside(&format!("  {:<28}", row.hook), 30, effect));
                }
            }
        }
        out
    }
}

/// A text beside its head, which is this wide, in as many lines as it needs.
fn beside(head: &str, width: usize, text: &str) -> String {
    let mut out = String::new();
    for (at, line) in wrapped(text, WIDTH - width - 1).iter().enumerate() {
        match at {
            0 => out.push_str(head),
            _ => out.push_str(&" ".repeat(width)),
        }
        let _ = writeln!(out, " {line}");
    }
    out
}

/// What is so, in a line.
fn headline(events: &[Sight]) -> String {
    let count = |wanted| events.iter().filter(|seen| **seen == wanted).count();
    let all = events.len();
    match (count(Sight::Unseen), count(Sight::Part)) {
        (0, 0) => format!("All {all} sorts of events are seen here.\n"),
        (unseen, _) if unseen == all => format!("Nothing is seen here: none of {all} sorts of events.\n"),
        (unseen, part) => {
            format!("Of {all} sorts of events {unseen} can't be seen here, and {part} only in part.\n")
        }
    }
}

fn painted(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Lines that fit, broken at blanks; what misleads is left out, as some of it is the host's.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !misleads(*c)).collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(missing: &str) -> Gap {
        Gap {
            reason: format!("it said \x1b[2J{}", "no ".repeat(60)),
            missing: missing.to_owned(),
            effect: "binds".to_owned(),
            remedy: String::new(),
        }
    }

    fn rows() -> Vec<Coverage> {
        vec![
            Coverage::unseen("socket_bind", "cgroup/post_bind", gap("cgroup2")),
            Coverage::unseen("socket_connect", "cgroup/connect", gap("cgroup2")),
            Coverage { state: State::Off, ..Coverage::unseen("usage", "iter", gap("")) },
            Coverage::seen("socket_connect", "tp_btf/inet_sock_set_state"),
            Coverage::seen("exec", "tp_btf/sched_process_exec"),
        ]
    }

    #[test]
    fn the_worst_stands_first_in_columns() {
        let report = text(&rows(), false);
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines[0], "Of 4 sorts of events 1 can't be seen here, and 1 only in part.");
        assert_eq!(
            lines[2..7],
            [
                "STATE   EVENT            SEEN BY",
                "UNSEEN  socket_bind      -",
                "part    socket_connect   tp_btf/inet_sock_set_state",
                "off     usage            -",
                "seen    exec             tp_btf/sched_process_exec",
            ]
        );
        assert!(lines[8].starts_with("unseen    it said [2Jno no"), "{report}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH) && !report.contains('\x1b'),
            "{report}"
        );
        let missing = lines.iter().position(|line| *line == "missing   cgroup2").unwrap();
        assert_eq!(
            lines[missing + 1..missing + 3],
            ["  cgroup/post_bind             binds", "  cgroup/connect               binds",]
        );
        assert!(lines[missing + 4].starts_with("off       it said"), "{report}");
        assert!(!report.contains("do "));
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let report = text(&rows(), true);
        assert!(report.contains("\x1b[1;31mUNSEEN\x1b[0m  socket_bind "), "{report:?}");
        assert_eq!(text(&rows()[3..], false).lines().next(), Some("All 2 sorts of events are seen here."));
        let nothing = text(&rows()[..1], false);
        assert!(
            nothing.starts_with("Nothing is seen here: none of 1") && !nothing.contains("binds"),
            "{nothing}"
        );
    }
}
