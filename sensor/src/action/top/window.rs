//! The last minute: rows in groups, with their past, and those that ended meanwhile.

use std::collections::{HashMap, VecDeque};

use super::row::{By, Interval, Metric, Row, Subject, Usage};

/// How long the window is, nanoseconds.
const LENGTH: u64 = 60_000_000_000;
/// Most points of a past.
const MOST_POINTS: usize = 60;
/// Most rows that ended and are kept.
const MOST_ENDED: usize = 10_000;

/// What a past is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trend {
    /// Time on processors.
    Cpu,
    /// Bytes from and to disks.
    Disk,
    /// Bytes received and sent.
    Net,
    /// Connections.
    Connections,
}

impl Trend {
    /// What goes best with rows in the order of a metric.
    pub fn of(metric: Metric) -> Self {
        match metric {
            Metric::DiskRead | Metric::DiskWrite => Self::Disk,
            Metric::NetRx | Metric::NetTx | Metric::RxPackets | Metric::TxPackets => Self::Net,
            Metric::Connections => Self::Connections,
            Metric::Cpu | Metric::Rss | Metric::FileRead | Metric::FileWrite => Self::Cpu,
        }
    }
}

/// A moment of a past, by `Trend`; CPU in thousandths of a processor, bytes in KiB a second.
type Point = [u32; 4];

/// A row with its past.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The row, of the last interval in which it was seen.
    pub row: Row,
    /// How long that interval was, nanoseconds.
    pub elapsed: u64,
    past: VecDeque<Point>,
    /// Since when it isn't seen any more.
    ended: Option<u64>,
}

impl Entry {
    /// Its last minute, oldest first; shorter when there was nothing before.
    pub fn past(&self, trend: Trend) -> impl ExactSizeIterator<Item = u32> + DoubleEndedIterator {
        self.past.iter().map(move |point| point.get(trend as usize).copied().unwrap_or(0))
    }

    /// A past in which nothing happened is not kept.
    fn remember(&mut self, point: Point, points: usize) {
        self.past.push_back(point);
        while self.past.len() > points {
            self.past.pop_front();
        }
        if self.past.iter().all(|point| *point == Point::default()) {
            self.past.clear();
        }
    }
}

/// The last minute of all rows.
#[derive(Clone, Debug)]
pub struct Window {
    by: By,
    points: usize,
    /// The sum of the lengths of all intervals, nanoseconds.
    now: u64,
    entries: HashMap<Subject, Entry>,
    /// The whole host.
    pub system: Option<Entry>,
    /// What could be given to nobody.
    pub rest: Option<Entry>,
    /// What isn't known, and why.
    pub told: Vec<String>,
}

impl Window {
    /// An empty one, to be filled with intervals of about this length, nanoseconds.
    pub fn new(by: By, interval: u64) -> Self {
        let points = usize::try_from(LENGTH / interval.max(1)).unwrap_or(MOST_POINTS);
        Self {
            by,
            points: points.clamp(1, MOST_POINTS),
            now: 0,
            entries: HashMap::new(),
            system: None,
            rest: None,
            told: Vec::new(),
        }
    }

    /// What its rows are of.
    pub fn by(&self) -> By {
        self.by
    }

    /// All rows but the rest.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Takes an interval in.
    pub fn take(&mut self, interval: &Interval) {
        self.now = self.now.saturating_add(interval.elapsed);
        self.told.clone_from(&interval.told);
        let (elapsed, points) = (interval.elapsed, self.points);
        let mut entries = std::mem::take(&mut self.entries);
        for row in grouped(interval, self.by) {
            let entry = entries.remove(&row.subject);
            self.entries.insert(row.subject.clone(), self.next(entry, row, elapsed));
        }
        // Whoever isn't told of any more has ended, and stays until the window has passed.
        for (subject, mut entry) in entries {
            let since = *entry.ended.get_or_insert(self.now);
            if self.now.saturating_sub(since) >= LENGTH {
                continue;
            }
            entry.row.ended = true;
            entry.remember(Point::default(), points);
            self.entries.insert(subject, entry);
        }
        self.forget();
        let whole = |usage| Row { usage, ..Row::of(Subject::Rest) };
        self.system = Some(self.next(self.system.clone(), whole(interval.system), elapsed));
        let rest = interval.rest_by(self.by);
        self.rest = rest.map(|usage| self.next(self.rest.clone(), whole(usage), elapsed));
    }

    fn next(&self, before: Option<Entry>, mut row: Row, elapsed: u64) -> Entry {
        let ended = row.ended;
        let point = point(&row.usage, elapsed);
        let mut entry = match before {
            // What it did in its last whole interval and since.
            Some(mut before) if ended => {
                before.row.ended = true;
                let since = row.usage.used();
                if !since.is_unknown() {
                    before.row.usage.add(&since);
                    before.elapsed = before.elapsed.saturating_add(elapsed);
                }
                before
            }
            Some(mut before) => {
                before.row = row;
                before.elapsed = elapsed;
                before
            }
            None => {
                row.ended = ended;
                Entry { row, elapsed, past: VecDeque::new(), ended: None }
            }
        };
        entry.ended = ended.then_some(self.now);
        entry.remember(point, self.points);
        entry
    }

    /// Of those that ended, the oldest go when there are too many.
    fn forget(&mut self) {
        let mut ended: Vec<(u64, Subject)> = self
            .entries
            .iter()
            .filter_map(|(subject, entry)| Some((entry.ended?, subject.clone())))
            .collect();
        if ended.len() > MOST_ENDED {
            ended.sort();
            for (_, subject) in ended.drain(..ended.len() - MOST_ENDED) {
                self.entries.remove(&subject);
            }
        }
    }
}

fn point(usage: &Usage, elapsed: u64) -> Point {
    let rate = |value: u64, unit: u64| {
        let rate = u128::from(value) * 1_000_000_000 / u128::from(elapsed.max(1)) / u128::from(unit);
        u32::try_from(rate).unwrap_or(u32::MAX)
    };
    let sum = |metrics: [Metric; 2]| {
        metrics.into_iter().fold(0_u64, |sum, metric| sum.saturating_add(usage.get(metric).unwrap_or(0)))
    };
    [
        rate(usage.get(Metric::Cpu).unwrap_or(0), 1_000_000),
        rate(sum([Metric::DiskRead, Metric::DiskWrite]), 1024),
        rate(sum([Metric::NetRx, Metric::NetTx]), 1024),
        u32::try_from(usage.get(Metric::Connections).unwrap_or(0)).unwrap_or(u32::MAX),
    ]
}

/// The rows of an interval, added up by what they are of.
pub fn grouped(interval: &Interval, by: By) -> Vec<Row> {
    let subject: fn(&Row) -> Subject = match by {
        By::Process => return interval.processes.clone(),
        By::Remote => return interval.remotes.clone(),
        By::User => |row| Subject::User(row.uid.unwrap_or(0), row.login),
        By::Container => |row| Subject::Container(row.container.clone()),
    };
    let mut groups: HashMap<Subject, Row> = HashMap::new();
    for row in &interval.processes {
        let usage = if row.ended { row.usage.used() } else { row.usage };
        if row.ended && usage.is_unknown() {
            continue;
        }
        let key = subject(row);
        let group = groups.entry(key.clone()).or_insert_with(|| Row::of(key));
        match by {
            By::User => (group.uid, group.login) = (row.uid, row.login),
            _ => group.container.clone_from(&row.container),
        }
        group.usage.add(&usage);
        group.processes += row.processes;
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, uid: u32, cpu: u64) -> Row {
        let mut row = Row::of(Subject::Process(pid, 1));
        (row.uid, row.processes) = (Some(uid), 1);
        row.usage = Usage::of(&[(Metric::Cpu, cpu)]);
        row
    }

    fn interval(processes: Vec<Row>) -> Interval {
        Interval { elapsed: 1_000_000_000, processes, ..Interval::default() }
    }

    #[test]
    fn groups_add_up_what_is_known() {
        let told = interval(vec![process(1, 7, 10), process(2, 7, 20), process(3, 8, 1)]);
        let rows = grouped(&told, By::User);
        let row = rows.iter().find(|row| row.uid == Some(7)).unwrap();
        assert_eq!((row.usage.get(Metric::Cpu), row.usage.get(Metric::NetRx)), (Some(30), None));
        assert_eq!((row.processes, rows.len()), (2, 2));
    }

    #[test]
    fn whoever_ended_stays_for_the_window_with_the_last_known_numbers() {
        let mut window = Window::new(By::Process, 1_000_000_000);
        window.take(&interval(vec![process(1, 0, 500_000_000), process(2, 0, 0)]));
        let mut gone = process(1, 0, 0);
        (gone.ended, gone.usage) = (true, Usage::default());
        window.take(&interval(vec![gone, process(2, 0, 0)]));
        let find =
            |window: &Window| window.entries().find(|e| e.row.subject == Subject::Process(1, 1)).cloned();
        let entry = find(&window).unwrap();
        assert!(entry.row.ended);
        assert_eq!(entry.row.usage.get(Metric::Cpu), Some(500_000_000));
        assert_eq!(entry.past(Trend::Cpu).collect::<Vec<_>>(), [500, 0]);
        for _ in 0..59 {
            window.take(&interval(vec![process(2, 0, 0)]));
            assert!(find(&window).is_some());
        }
        window.take(&interval(vec![process(2, 0, 0)]));
        assert!(find(&window).is_none());
        assert_eq!(window.entries().count(), 1);
    }

    #[test]
    fn what_was_used_before_an_end_counts_with_what_came_before() {
        let mut window = Window::new(By::Process, 1_000_000_000);
        window.take(&interval(vec![process(1, 7, 500_000_000)]));
        let ended = Row { ended: true, processes: 0, ..process(1, 7, 100_000_000) };
        let rows = grouped(&interval(vec![ended.clone()]), By::User);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].usage.get(Metric::Cpu), rows[0].processes), (Some(100_000_000), 0));
        window.take(&interval(vec![ended]));
        let entry = window.entries().next().unwrap();
        assert_eq!((entry.row.usage.get(Metric::Cpu), entry.elapsed), (Some(600_000_000), 2_000_000_000));
        assert!(entry.row.ended);
        assert_eq!(entry.past(Trend::Cpu).collect::<Vec<_>>(), [500, 100]);
    }

    #[test]
    fn the_past_is_bounded_and_idle_ones_have_none() {
        let mut window = Window::new(By::Process, 100_000_000);
        for cpu in 0..200 {
            window.take(&interval(vec![process(1, 0, cpu * 1_000_000), process(2, 0, 0)]));
        }
        for entry in window.entries() {
            let busy = entry.row.subject == Subject::Process(1, 1);
            assert_eq!(entry.past.len(), if busy { MOST_POINTS } else { 0 });
        }
        assert_eq!(Window::new(By::Process, 30_000_000_000).points, 2);
    }

    #[test]
    fn a_storm_of_ended_ones_is_bounded() {
        let mut window = Window::new(By::Process, 1_000_000_000);
        for round in 0..3 {
            let first = round * 8_000;
            window.take(&interval((first..first + 8_000).map(|pid| process(pid, 0, 1)).collect()));
        }
        assert_eq!(window.entries().count(), 8_000 + MOST_ENDED);
    }
}
