//! Intervals from the kernel's counters in the folder of each process.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    holders::{Shares, usage as of_network},
    lives::{Ended, Who},
    programs::{News, Programs},
    row::{Interval, Metric, Row, Source, Subject, Usage},
};
use crate::{
    action::{Failure, Status},
    enrich::container,
    event::{Key, usage::Used},
    host::Host,
    net::Amount,
    procfs::accounts::{Account, Accounts, Io, Look, System},
};

/// How many pids are named of those that can't be read.
const NAMED: usize = 5;
/// A process's start is told in steps of this length, nanoseconds.
const STEP: u64 = 10_000_000;

/// Looks, and keeps the last look.
pub struct Counters {
    host: Host,
    accounts: Accounts,
    page: u64,
    at: u64,
    system: System,
    before: HashMap<(u32, u64), Account>,
    programs: Result<Programs, String>,
    /// Who was told to have ended and is still in /proc: nobody has waited for it.
    dead: HashSet<(u32, u64)>,
}

impl Counters {
    /// Takes the first look.
    pub fn open(host: &Host) -> Result<Self, Failure> {
        let accounts = Accounts::new(host.proc());
        let mut counters = Self {
            host: host.clone(),
            accounts,
            page: host.page_bytes(),
            at: host.boot_now(),
            system: System::default(),
            before: HashMap::new(),
            programs: Programs::open(host),
            dead: HashSet::new(),
        };
        let look = counters.look()?;
        counters.system = look.system;
        counters.before = keyed(look.processes);
        Ok(counters)
    }

    fn look(&self) -> Result<Look, Failure> {
        self.accounts.look().map_err(|error| {
            Failure::new(Status::Failed, format!("listing {}: {error}", self.host.proc().display()))
        })
    }

    /// What a process used since the last look.
    fn counted(&self, account: &Account, inherited: &HashMap<u32, Vec<Io>>) -> Usage {
        let mut usage = Usage::default();
        let before = self.before.get(&(account.pid, account.start));
        // Whoever was there at the last look and not seen then: it isn't known since when it used what.
        if before.is_none() && account.start.saturating_add(STEP) < self.at {
            return usage;
        }
        let cpu = account.cpu_ns.saturating_sub(before.map_or(0, |before| before.cpu_ns));
        usage.set(Metric::Cpu, Some(cpu));
        let io_before = before.map_or(Some(Io::default()), |before| before.io);
        if let (Some(io), Some(before)) = (account.io, io_before) {
            let children = inherited.get(&account.pid).map_or(&[][..], Vec::as_slice);
            let io = children.iter().fold(since(&io, &before), own);
            usage.set(Metric::FileRead, Some(io.file_read));
            usage.set(Metric::FileWrite, Some(io.file_write));
            usage.set(Metric::DiskRead, Some(io.disk_read));
            usage.set(Metric::DiskWrite, Some(io.disk_write));
        }
        usage
    }

    /// Rows of those that were there when it was looked.
    fn present(&self, look: &Look, lives: Option<Vec<(Key, Used)>>) -> Vec<Row> {
        let exact: Option<HashMap<Subject, (Key, Used)>> =
            lives.map(|lives| lives.into_iter().map(|(key, used)| (subject(key), (key, used))).collect());
        let inherited = if exact.is_none() { self.inherited(look) } else { HashMap::new() };
        let row = |account: &Account| {
            let mut row = row(account);
            row.processes = 1;
            row.usage = match exact.as_ref().map(|exact| exact.get(&row.subject)) {
                Some(Some((key, used))) => {
                    row.key = Some(*key);
                    of_process(used)
                }
                // Its end is told, or was before all this.
                Some(None) => Usage::default(),
                None => self.counted(account, &inherited),
            };
            row.usage.set(Metric::Rss, Some(account.rss_pages.saturating_mul(self.page)));
            row.usage.set(Metric::Connections, account.connections);
            row
        };
        look.processes.iter().map(row).collect()
    }

    /// What those that ended had done, by whoever may have waited for them.
    fn inherited(&self, look: &Look) -> HashMap<u32, Vec<Io>> {
        let seen: HashSet<_> = look.processes.iter().map(place).collect();
        let mut inherited: HashMap<u32, Vec<Io>> = HashMap::new();
        for account in self.before.values().filter(|account| !seen.contains(&place(account))) {
            if let Some(io) = account.io {
                inherited.entry(account.parent).or_default().push(io);
            }
        }
        inherited
    }

    /// A row of a process that /proc doesn't show.
    fn unseen(&self, key: Key, who: &Who) -> Row {
        let account = |key: Key| self.before.get(&(key.pid, key.start - key.start % STEP));
        let like = account(key).or_else(|| account(who.creator?));
        let mut named = like.map_or_else(|| Row::of(subject(key)), row);
        (named.subject, named.key) = (subject(key), Some(key));
        if who.name.is_some() {
            (named.name, named.executable) = (who.name.clone(), who.executable.clone());
        }
        if let Some(cgroup) = &who.cgroup {
            named.container = container(cgroup);
        }
        (named.uid, named.login) = (Some(who.uid), who.login);
        named
    }

    /// Adds those that sent or received something and were born since it was looked.
    fn appear(&self, shares: &Shares, rows: &mut Vec<Row>) {
        let Ok(programs) = &self.programs else { return };
        let there: HashSet<Subject> = rows.iter().map(|row| row.subject.clone()).collect();
        for key in shares.processes.keys().filter(|key| !there.contains(&subject(**key))) {
            if let Some(who) = programs.recent(*key) {
                rows.push(Row { processes: 1, ..self.unseen(*key, who) });
            }
        }
    }

    /// Adds those that ended, each with what it used up to then.
    fn end(&self, ended: Vec<Ended>, rows: &mut Vec<Row>) {
        let places: HashMap<Subject, usize> =
            rows.iter().enumerate().map(|(at, row)| (row.subject.clone(), at)).collect();
        for Ended { key, who, used } in ended {
            let used = used.as_ref().map(of_process).unwrap_or_default();
            if let Some(row) = places.get(&subject(key)).and_then(|at| rows.get_mut(*at)) {
                row.usage = row.usage.used();
                row.usage.add(&used);
                (row.ended, row.processes, row.key) = (true, 0, Some(key));
                continue;
            }
            rows.push(Row { usage: used, ended: true, ..self.unseen(key, &who) });
        }
    }

    /// What was last known of a process that is gone: how much it still used isn't.
    fn gone(&self, account: &Account) -> Row {
        let mut row = row(account);
        row.ended = true;
        row.usage.set(Metric::Rss, Some(account.rss_pages.saturating_mul(self.page)));
        row
    }
}

impl Source for Counters {
    fn interval(&mut self) -> Result<Interval, Failure> {
        let (now, mut look) = (self.host.boot_now(), self.look()?);
        let shown: HashSet<_> = look.processes.iter().map(place).collect();
        self.dead.retain(|place| shown.contains(place));
        look.processes.retain(|account| !self.dead.contains(&place(account)));
        let News { lives, ended, shares, told: untold } = match &mut self.programs {
            Ok(programs) => programs.news(|key| shown.contains(&(key.pid, key.start - key.start % STEP))),
            Err(why) => News { told: vec![why.clone()], ..News::default() },
        };
        let mut interval = Interval {
            elapsed: now.saturating_sub(self.at).max(1),
            processes: self.present(&look, lives),
            remotes: remotes(&look, shares.as_ref()),
            system: system(&self.system, &look.system),
            told: told(&look),
            ..Interval::default()
        };
        interval.told.extend(untold);
        let over: HashSet<_> =
            ended.iter().map(|it| (it.key.pid, it.key.start - it.key.start % STEP)).collect();
        self.end(ended, &mut interval.processes);
        let gone = self.before.iter().filter(|(place, _)| !shown.contains(*place) && !over.contains(*place));
        interval.processes.extend(gone.map(|(_, account)| self.gone(account)));
        if let Some(shares) = &shares {
            self.appear(shares, &mut interval.processes);
            interval.remote_rest = Some(moved(&mut interval, shares));
        }
        let mut sum = Usage::default();
        interval.processes.iter().for_each(|row| sum.add(&row.usage));
        interval.rest = interval.system.without(&sum);
        // One socket can be held by several processes, so these are counted by themselves.
        interval.rest.set(Metric::Connections, Some(look.connections.unheld()));
        (self.at, self.system, self.before) = (now, look.system, keyed(look.processes));
        self.before.retain(|place, _| !over.contains(place));
        self.dead.extend(over.intersection(&shown));
        Ok(interval)
    }

    fn tend(&mut self) {
        if let Ok(programs) = &mut self.programs {
            programs.tend();
        }
    }
}

fn keyed(accounts: Vec<Account>) -> HashMap<(u32, u64), Account> {
    accounts.into_iter().map(|account| ((account.pid, account.start), account)).collect()
}

fn row(account: &Account) -> Row {
    Row {
        name: Some(account.name.clone()),
        executable: account.executable.clone(),
        uid: Some(account.uid),
        login: account.login,
        container: account.cgroup.as_ref().and_then(container),
        ..Row::of(Subject::Process(account.pid, account.start))
    }
}

fn place(account: &Account) -> (u32, u64) {
    (account.pid, account.start)
}

fn of_process(used: &Used) -> Usage {
    let mut usage = Usage::default();
    usage.set(Metric::Cpu, Some(used.cpu_ns));
    usage.set(Metric::FileRead, Some(used.io.rchar));
    usage.set(Metric::FileWrite, Some(used.io.wchar));
    usage.set(Metric::DiskRead, Some(used.io.read_bytes));
    usage.set(Metric::DiskWrite, Some(used.io.write_bytes));
    usage
}

/// A process as /proc names it: by when it began, in steps.
fn subject(key: Key) -> Subject {
    Subject::Process(key.pid, key.start - key.start % STEP)
}

fn remotes(look: &Look, shares: Option<&Shares>) -> Vec<Row> {
    let counts = look.connections.by_remote();
    let moved = shares.map(|shares| &shares.remotes);
    let addresses: HashSet<_> = counts.keys().chain(moved.into_iter().flat_map(HashMap::keys)).collect();
    let row = |address: &IpAddr| {
        let mut row = Row::of(Subject::Remote(*address));
        if let Some(moved) = moved {
            row.usage = of_network(moved.get(address).copied().unwrap_or_default());
        }
        row.usage.set(Metric::Connections, Some(counts.get(address).copied().unwrap_or(0)));
        row
    };
    addresses.into_iter().map(row).collect()
}

/// Gives each process what it sent and received; what is given to no address.
fn moved(interval: &mut Interval, shares: &Shares) -> Usage {
    let mut processes: HashMap<Subject, Amount> = HashMap::new();
    for (key, amount) in &shares.processes {
        let sum = processes.entry(subject(*key)).or_default();
        *sum = sum.plus(*amount);
    }
    for row in &mut interval.processes {
        match processes.get(&row.subject) {
            Some(amount) => row.usage.add(&of_network(*amount)),
            // Of whom it isn't known what they did at all.
            None if row.ended && row.key.is_none() => {}
            None => row.usage.add(&of_network(Amount::default())),
        }
    }
    interval.system.add(&of_network(shares.all));
    let given = shares.remotes.values().fold(Amount::default(), |sum, amount| sum.plus(*amount));
    of_network(shares.all.since(given))
}

fn system(before: &System, now: &System) -> Usage {
    let mut usage = Usage::default();
    usage.set(Metric::Cpu, Some(now.cpu_ns.saturating_sub(before.cpu_ns)));
    usage.set(Metric::DiskRead, Some(now.disk_read.saturating_sub(before.disk_read)));
    usage.set(Metric::DiskWrite, Some(now.disk_write.saturating_sub(before.disk_write)));
    usage
}

fn since(now: &Io, before: &Io) -> Io {
    Io {
        file_read: now.file_read.saturating_sub(before.file_read),
        file_write: now.file_write.saturating_sub(before.file_write),
        disk_read: now.disk_read.saturating_sub(before.disk_read),
        disk_write: now.disk_write.saturating_sub(before.disk_write),
    }
}

/// Without what an ended child had already been told with: whoever waits for a child takes over all it
/// ever did (`wait_task_zombie`, `kernel/exit.c`). A parent that doesn't wait takes over nothing, and then
/// hardly has as much of everything.
fn own(parent: Io, child: &Io) -> Io {
    let has = |what: fn(&Io) -> u64| what(&parent) >= what(child);
    let all = has(|io| io.file_read)
        && has(|io| io.file_write)
        && has(|io| io.disk_read)
        && has(|io| io.disk_write);
    if all { since(&parent, child) } else { parent }
}

fn told(look: &Look) -> Vec<String> {
    let unread: Vec<u32> = look
        .processes
        .iter()
        .filter(|account| account.io.is_none() || account.connections.is_none())
        .map(|account| account.pid)
        .collect();
    let mut told = Vec::new();
    if !unread.is_empty() {
        let named: Vec<String> = unread.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if unread.len() > NAMED { ", …" } else { "" };
        let processes = if unread.len() == 1 { "process" } else { "processes" };
        told.push(format!(
            "disk, files or connections of {} {processes} (pid {}{more}) not readable: needs root with CAP_SYS_PTRACE",
            unread.len(),
            named.join(", ")
        ));
    }
    if look.truncated {
        told.push("more processes than are read".to_owned());
    }
    if look.connections.truncated {
        told.push("more sockets or descriptors than are read".to_owned());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(file_read: u64, file_write: u64) -> Io {
        Io { file_read, file_write, ..Io::default() }
    }

    #[test]
    fn what_a_child_did_is_not_told_again_of_its_parent() {
        assert_eq!(own(io(150, 30), &io(100, 30)), io(50, 0));
        assert_eq!(own(io(150, 20), &io(100, 30)), io(150, 20));
    }

    #[test]
    fn a_working_process_is_seen_to_work() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let host = Host::real().unwrap();
        let mut source = Counters::open(&host).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(150) {
            std::hint::spin_loop();
        }
        let interval = source.interval().unwrap();
        let own = |row: &&Row| matches!(row.subject, Subject::Process(pid, _) if pid == std::process::id());
        let own = interval.processes.iter().find(own).unwrap();
        assert!(own.usage.get(Metric::Cpu).unwrap() > 0, "{own:?}");
        assert!(interval.elapsed >= 150_000_000);
        assert_eq!(own.usage.get(Metric::NetRx).is_some(), interval.remote_rest.is_some());
    }
}
