//! What one interval tells: rows of who used what, and where they come from.

use std::net::IpAddr;

use clap::ValueEnum;

use crate::{action::Failure, event::Key, record::Text};

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Each process.
    Process,
    /// Effective user, with the user who logged in.
    User,
    /// Container, by the cgroup's path.
    Container,
    /// Address at the other end of connections.
    Remote,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Process, Self::User, Self::Container, Self::Remote];

    /// The next of them, and after the last the first.
    pub fn next(self) -> Self {
        let others = Self::ALL.into_iter().skip_while(|by| *by != self).skip(1);
        others.chain(Self::ALL).next().unwrap_or(self)
    }

    /// As it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::User => "user",
            Self::Container => "container",
            Self::Remote => "remote",
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Nanoseconds on processors.
    Cpu,
    /// Resident bytes at the end of the interval.
    Rss,
    /// Bytes read from the block layer.
    DiskRead,
    /// Bytes written towards the block layer.
    DiskWrite,
    /// Bytes got from read calls.
    FileRead,
    /// Bytes given to write calls.
    FileWrite,
    /// IP bytes received.
    NetRx,
    /// IP bytes sent.
    NetTx,
    /// Connections at the end of the interval.
    Connections,
    /// Packets received.
    RxPackets,
    /// Packets sent.
    TxPackets,
}

impl Metric {
    /// All.
    pub const ALL: [Self; 11] = [
        Self::Cpu,
        Self::Rss,
        Self::DiskRead,
        Self::DiskWrite,
        Self::FileRead,
        Self::FileWrite,
        Self::NetRx,
        Self::NetTx,
        Self::Connections,
        Self::RxPackets,
        Self::TxPackets,
    ];
    /// Those with a column, in that order.
    pub const SHOWN: [Self; 9] = [
        Self::Cpu,
        Self::Rss,
        Self::DiskRead,
        Self::DiskWrite,
        Self::FileRead,
        Self::FileWrite,
        Self::NetRx,
        Self::NetTx,
        Self::Connections,
    ];
}

/// How much of each metric, as far as that is known: what nobody told is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage([Option<u64>; Metric::ALL.len()]);

impl Usage {
    /// Of these.
    #[cfg(test)]
    pub fn of(values: &[(Metric, u64)]) -> Self {
        let mut usage = Self::default();
        values.iter().for_each(|(metric, value)| usage.set(*metric, Some(*value)));
        usage
    }

    /// How much of it.
    pub fn get(&self, metric: Metric) -> Option<u64> {
        self.0.get(metric as usize).copied().flatten()
    }

    /// Sets how much.
    pub fn set(&mut self, metric: Metric, value: Option<u64>) {
        if let Some(place) = self.0.get_mut(metric as usize) {
            *place = value;
        }
    }

    /// Adds what is known of another.
    pub fn add(&mut self, other: &Self) {
        for metric in Metric::ALL {
            if let Some(more) = other.get(metric) {
                self.set(metric, Some(self.get(metric).unwrap_or(0).saturating_add(more)));
            }
        }
    }

    /// Only what was used; without what is of the end of an interval.
    pub fn used(mut self) -> Self {
        self.set(Metric::Rss, None);
        self.set(Metric::Connections, None);
        self
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// Takes off what is known of another, from what is known here.
    pub fn without(mut self, other: &Self) -> Self {
        for metric in Metric::ALL {
            let left = self.get(metric).map(|all| all.saturating_sub(other.get(metric).unwrap_or(0)));
            self.set(metric, left);
        }
        self
    }
}

/// Whose row it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A process, by pid and start.
    Process(u32, u64),
    /// An effective user, and who logged in.
    User(u32, Option<u32>),
    /// A container, or the host outside of all.
    Container(Option<Text>),
    /// The other end of connections.
    Remote(IpAddr),
    /// What could be given to nobody.
    Rest,
}

/// A row of one interval.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose.
    pub subject: Subject,
    /// A process by its exact start, where that is known.
    pub key: Option<Key>,
    /// The name of a process.
    pub name: Option<Text>,
    /// The executable of a process.
    pub executable: Option<Text>,
    /// Effective user.
    pub uid: Option<u32>,
    /// Who logged in.
    pub login: Option<u32>,
    /// The container's id.
    pub container: Option<Text>,
    /// How many processes the row is of.
    pub processes: u64,
    /// What was used.
    pub usage: Usage,
    /// It ended within the interval.
    pub ended: bool,
}

impl Row {
    /// With nothing known yet but whose it is.
    pub fn of(subject: Subject) -> Self {
        Self {
            subject,
            key: None,
            name: None,
            executable: None,
            uid: None,
            login: None,
            container: None,
            processes: 0,
            usage: Usage::default(),
            ended: false,
        }
    }
}

/// All of one interval.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// How long it was, nanoseconds.
    pub elapsed: u64,
    /// One row a process.
    pub processes: Vec<Row>,
    /// One row an address.
    pub remotes: Vec<Row>,
    /// What the whole host used.
    pub system: Usage,
    /// What could be given to no process.
    pub rest: Usage,
    /// What could be given to no address; nothing where nobody knows how much that would be.
    pub remote_rest: Option<Usage>,
    /// What isn't known, and why.
    pub told: Vec<String>,
}

impl Interval {
    /// What could be given to no row.
    pub fn rest_by(&self, by: By) -> Option<Usage> {
        match by {
            By::Remote => self.remote_rest,
            _ => Some(self.rest),
        }
    }
}

/// Where intervals come from.
pub trait Source {
    /// What was used since the last call, or since the source was opened.
    ///
    /// # Errors
    /// When nothing at all can be told.
    fn interval(&mut self) -> Result<Interval, Failure>;

    /// Called many times within an interval: takes what can't wait for its end.
    fn tend(&mut self) {}
}
