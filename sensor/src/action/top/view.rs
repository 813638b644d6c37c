//! What is asked of the rows: their order, a filter, what is in sight; and what keys change of that.

use std::cmp::Ordering;

use super::{
    keys::Key,
    row::{By, Metric},
    table::{Names, filterable},
    window::{Entry, Window},
};

/// Longest filter, characters.
const MOST_FILTER: usize = 64;

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The most first.
    Metric(Metric),
    /// By name.
    Name,
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the table.
    Table,
    /// Into the filter.
    Filter,
    /// The help is shown.
    Help,
}

/// What a key asks of whoever holds the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but a new look.
    Draw,
    /// Rows of something else.
    By(By),
    /// The end.
    Quit,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct View {
    /// The order.
    pub order: Order,
    /// The other way round.
    pub reverse: bool,
    /// Only rows that hold this.
    pub filter: String,
    /// Where keys go.
    pub mode: Mode,
    /// Numbers stand still.
    pub paused: bool,
    /// Rows above the first one in sight.
    pub above: usize,
}

impl Default for View {
    fn default() -> Self {
        Self {
            order: Order::Metric(Metric::Cpu),
            reverse: false,
            filter: String::new(),
            mode: Mode::Table,
            paused: false,
            above: 0,
        }
    }
}

impl View {
    /// The rows that fit the filter, in their order. What isn't known comes last, whichever way round.
    pub fn rows<'a>(&self, window: &'a Window, names: &Names) -> Vec<&'a Entry> {
        let wanted = self.filter.to_lowercase();
        let mut rows: Vec<&Entry> = window
            .entries()
            .filter(|entry| wanted.is_empty() || filterable(&entry.row, names).contains(&wanted))
            .collect();
        rows.sort_by(|a, b| self.compare(a, b).then_with(|| a.row.subject.cmp(&b.row.subject)));
        rows
    }

    fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        let turned = |order: Ordering| if self.reverse { order.reverse() } else { order };
        match self.order {
            Order::Name => {
                let name = |entry: &Entry| entry.row.name.as_ref().map(|name| name.as_bytes().to_vec());
                turned(name(a).cmp(&name(b)))
            }
            Order::Metric(metric) => {
                // A rate is compared, since the last intervals of ended rows may have had another length.
                let rate = |entry: &Entry| {
                    entry
                        .row
                        .usage
                        .get(metric)
                        .map(|value| u128::from(value) << 32)
                        .map(|value| value / u128::from(entry.elapsed.max(1)))
                };
                match (rate(a), rate(b)) {
                    (Some(a), Some(b)) => turned(b.cmp(&a)),
                    (a, b) => b.is_some().cmp(&a.is_some()),
                }
            }
        }
    }

    /// What a key does; `page` rows are in sight.
    pub fn key(&mut self, key: Key, by: By, page: usize) -> Wish {
        match (self.mode, key) {
            (_, Key::Interrupt) | (Mode::Table, Key::Char('q')) => return Wish::Quit,
            (Mode::Help, _) => self.mode = Mode::Table,
            (Mode::Filter, key) => self.edit(key),
            (Mode::Table, Key::Char('b')) => {
                self.above = 0;
                return Wish::By(by.next());
            }
            (Mode::Table, key) => self.table(key, page),
        }
        Wish::Draw
    }

    fn table(&mut self, key: Key, page: usize) {
        match key {
            Key::Up | Key::Char('k') => self.above = self.above.saturating_sub(1),
            Key::Down | Key::Char('j') => self.above = self.above.saturating_add(1),
            Key::PageUp => self.above = self.above.saturating_sub(page),
            Key::PageDown => self.above = self.above.saturating_add(page),
            Key::Home | Key::Char('g') => self.above = 0,
            Key::End | Key::Char('G') => self.above = usize::MAX,
            Key::Char('s' | '>') | Key::Right => self.turn(1),
            Key::Char('<') | Key::Left => self.turn(ORDERS.len() - 1),
            Key::Char('r') => self.reverse = !self.reverse,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Escape => self.filter.clear(),
            _ => {}
        }
    }

    fn edit(&mut self, key: Key) {
        self.above = 0;
        match key {
            Key::Enter => self.mode = Mode::Table,
            Key::Escape => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Char(c) if self.filter.chars().count() < MOST_FILTER => self.filter.push(c),
            _ => {}
        }
    }

    fn turn(&mut self, steps: usize) {
        let at = ORDERS.iter().position(|order| *order == self.order).unwrap_or(0);
        self.order = ORDERS.get((at + steps) % ORDERS.len()).copied().unwrap_or(self.order);
        self.above = 0;
    }
}

const ORDERS: [Order; Metric::SHOWN.len() + 1] = {
    let mut orders = [Order::Name; Metric::SHOWN.len() + 1];
    let mut at = 0;
    while at < Metric::SHOWN.len() {
        orders[at] = Order::Metric(Metric::SHOWN[at]);
        at += 1;
    }
    orders
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        action::top::row::{Interval, Row, Subject, Usage},
        record::Text,
    };

    fn window() -> Window {
        let row = |pid, name: &'static str, cpu: Option<u64>| {
            let mut row = Row::of(Subject::Process(pid, 1));
            row.name = Some(Text::from(name));
            row.usage = Usage::default();
            row.usage.set(Metric::Cpu, cpu);
            row
        };
        let processes = vec![
            row(11, "cat", None),
            row(12, "Bash", Some(5)),
            row(13, "awk", Some(9)),
            row(14, "dd", None),
        ];
        let mut window = Window::new(By::Process, 1_000_000_000);
        window.take(&Interval { elapsed: 1_000_000_000, processes, ..Interval::default() });
        window
    }

    fn pids(view: &View, window: &Window) -> Vec<u32> {
        let pid = |entry: &&Entry| match entry.row.subject {
            Subject::Process(pid, _) => pid,
            _ => 0,
        };
        view.rows(window, &Names::default()).iter().map(pid).collect()
    }

    #[test]
    fn unknown_is_last_both_ways() {
        let (mut view, window) = (View::default(), window());
        assert_eq!(pids(&view, &window), [13, 12, 11, 14]);
        view.key(Key::Char('r'), By::Process, 10);
        assert_eq!(pids(&view, &window), [12, 13, 11, 14]);
        view.reverse = false;
        view.key(Key::Char('<'), By::Process, 10);
        assert_eq!(view.order, Order::Name);
        assert_eq!(pids(&view, &window), [12, 13, 11, 14]);
        view.key(Key::Char('s'), By::Process, 10);
        assert_eq!(view.order, Order::Metric(Metric::Cpu));
    }

    #[test]
    fn the_filter_takes_letters_until_it_is_left() {
        let (mut view, window) = (View::default(), window());
        for key in ['/', 'b', 'a', 'q'] {
            assert_eq!(view.key(Key::Char(key), By::Process, 10), Wish::Draw);
        }
        view.key(Key::Backspace, By::Process, 10);
        view.key(Key::Enter, By::Process, 10);
        assert_eq!((view.filter.as_str(), view.mode), ("ba", Mode::Table));
        assert_eq!(pids(&view, &window), [12]);
        view.key(Key::Escape, By::Process, 10);
        assert_eq!(pids(&view, &window).len(), 4);
        assert_eq!(view.key(Key::Char('b'), By::Process, 10), Wish::By(By::User));
        assert_eq!(view.key(Key::Char('q'), By::Process, 10), Wish::Quit);
        view.mode = Mode::Filter;
        for _ in 0..1000 {
            view.key(Key::Char('x'), By::Process, 10);
        }
        assert_eq!(view.filter.len(), MOST_FILTER);
        assert_eq!(view.key(Key::Interrupt, By::Process, 10), Wish::Quit);
    }
}
