//! For `cargo xtask bench journal`: made-up events of a busy host through the real format, queue and journal; prints what that came
//! to, a name and a number a line.
//!
//! `journal FOLDER MAX_BYTES RATE SECONDS`: so many events a second, 0 for as many as are taken.

use std::{
    error::Error,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use sensor::{
    config,
    field::Field,
    format::{Format, ecs::Ecs},
    journal::{Folder, Inlet, Journal},
    record::{Record, Text, Time},
};

/// How often the loop hands over, when there is something.
const ROUND: Duration = Duration::from_millis(10);
/// Events of a round where there is no rate.
const MANY: u64 = 1000;

/// Names of events, in the proportions of a host that builds and serves.
const ACTIONS: [&str; 11] = [
    "fork",
    "exec",
    "exit",
    "fork",
    "exec",
    "exit",
    "fork",
    "exit",
    "socket_connect",
    "socket_close",
    "usage",
];

/// What makes events that differ as those of a host do.
struct Source {
    state: u64,
    count: u64,
    common: Record,
    /// What processes have in common.
    programs: Vec<Text>,
    users: Vec<Text>,
}

impl Source {
    fn new() -> Self {
        let mut common = Record::new();
        common.set(Field::EcsVersion, "9.4.0");
        common.set(Field::HostName, "web-1");
        common.set(Field::HostId, "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
        common.set(Field::HostBootId, "6f1c0f5e-0000-4000-8000-5d0c7a3b9e21");
        common.set(Field::SensorVersion, "0.1.0");
        let programs =
            (0..400).map(|at| Text::from(format!("/usr/bin/program-{}", at * 7919 % 1000))).collect();
        let users = (0..12).map(|at| Text::from(format!("user{at}"))).collect();
        Self { state: 7, count: 0, common, programs, users }
    }

    fn below(&mut self, most: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % most
    }

    /// One number for a thing: the same whenever it is asked for.
    fn of(thing: u64, what: u64) -> u64 {
        let mut mixed = (thing ^ what << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
        mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8
    }

    /// The next event and its line.
    fn next(&mut self) -> (Record, Vec<u8>) {
        self.count += 1;
        let count = self.count;
        let action = ACTIONS[count as usize % ACTIONS.len()];
        // A process has about four events, not all of them at once.
        let process = count / 4 + self.below(40);
        let mut record = Record::new();
        self.process(&mut record, process);
        record.set(Field::Timestamp, Time(1_795_000_000_000_000_000 + (count * 20_000) as i64));
        record.set(Field::EventKind, "event");
        record.set(Field::EventAction, action);
        record.set(Field::EventCategory, &["process"][..]);
        record.set(Field::EventType, &["start"][..]);
        if action.starts_with("socket") {
            let remote = Self::of(self.below(3000), 9);
            record.set(Field::NetworkDirection, "egress");
            record.set(Field::NetworkTransport, "tcp");
            record.set(Field::SourceIp, "192.0.2.1");
            record.set(Field::SourcePort, 32_768 + Self::of(count, 1) % 28_000);
            record.set(
                Field::DestinationIp,
                Text::from(format!("198.51.{}.{}", remote % 64, remote / 64 % 256)),
            );
            record.set(Field::DestinationPort, 443_u64);
        }
        record.extend_from(&self.common);
        record.set(Field::EventSequence, count);
        record.set(Field::EventId, Text::numbered("e4057c27660c0d4b", count));
        let mut line = Vec::with_capacity(2048);
        Ecs.write(&record, &mut line);
        (record, line)
    }

    fn process(&self, record: &mut Record, process: u64) {
        let number = |what, most: u64| Self::of(process, what) % most;
        let entity = |of: u64| Text::from(format!("{:016x}{:016x}", Self::of(of, 2), Self::of(of, 3)));
        // Some programs run much oftener than most.
        let program = self.programs[(number(4, 20) * number(5, 20)) as usize].clone();
        let user = number(6, 4) * number(7, 4);
        let id = Text::from((1000 + user).to_string());
        record.set(Field::ProcessPid, 300 + process % 4_000_000);
        record.set(Field::ProcessEntityId, entity(process));
        record.set(Field::ProcessStart, Time(1_795_000_000_000_000_000 + number(8, 1 << 40) as i64));
        record.set(Field::ProcessExecutable, program.clone());
        let args = [
            program.clone(),
            Text::from("--config"),
            Text::from(format!("/etc/app/{}.conf", number(9, 300))),
        ];
        let last = Text::from(format!("/srv/data/{:x}/{:08x}", number(10, 256), number(11, 1 << 32)));
        record.set(Field::ProcessArgs, [&args[..], &[last]].concat());
        record.set(Field::ProcessArgsCount, 4_u64);
        record.set(Field::ProcessWorkingDirectory, Text::from(format!("/srv/app{}", number(12, 50))));
        record.set(Field::ProcessInteractive, false);
        record.set(Field::ProcessThreadId, 300 + process % 4_000_000);
        for field in [Field::ProcessUserId, Field::ProcessRealUserId, Field::ProcessGroupId, Field::UserId] {
            record.set(field, id.clone());
        }
        if let Some(name) = self.users.get(user as usize) {
            record.set(Field::UserName, name.clone());
            record.set(Field::SensorLoginUid, id);
            record.set(Field::SensorLoginName, name.clone());
        }
        let hash = Text::from(
            (0..4).map(|at| format!("{:014x}ab", Self::of(program.len() as u64, at))).collect::<String>(),
        );
        record.set(Field::ProcessHashSha256, hash);
        record.set(Field::ProcessParentPid, 300 + process / 9 % 4_000_000);
        record.set(Field::ProcessParentEntityId, entity(process / 9));
        record.set(Field::ProcessParentExecutable, self.programs[number(13, 9) as usize].clone());
        record.set(
            Field::ProcessParentArgs,
            vec![Text::from("make"), Text::from(format!("-j{}", number(14, 9)))],
        );
        record.set(Field::SensorExeInode, sensor::record::Value::Id(10_000_000 + number(4, 20)));
        record.set(Field::SensorExeNlink, 1_u64);
        record.set(Field::SensorExeState, "present");
    }
}

/// CPU time of this thread, seconds.
fn own_time() -> Result<f64, Box<dyn Error>> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?).as_secs_f64())
}

/// CPU time of the thread that writes, seconds. It gives itself its name, so that is not there at once.
fn writer_time() -> Result<f64, Box<dyn Error>> {
    for _ in 0..100 {
        if let Some(time) = named_time("journal")? {
            return Ok(time);
        }
        thread::sleep(ROUND);
    }
    Err("there is no thread that writes".into())
}

/// CPU time of the thread of that name, seconds.
fn named_time(name: &str) -> Result<Option<f64>, Box<dyn Error>> {
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if fs::read_to_string(path.join("comm"))?.trim_end() == name {
            let text = fs::read_to_string(path.join("schedstat"))?;
            let time: u64 = text.split(' ').next().unwrap_or_default().parse()?;
            return Ok(Some(time as f64 / 1e9));
        }
    }
    Ok(None)
}

/// Gives all, waiting for room; how often that was so, and the CPU time that it took.
fn give(inlet: &mut Inlet, events: &[(Record, Vec<u8>)]) -> Result<(u64, f64), Box<dyn Error>> {
    let (mut waits, before) = (0, own_time()?);
    for (record, line) in events {
        while !inlet.write(record, line) {
            waits += 1;
            thread::sleep(Duration::from_millis(1));
        }
    }
    inlet.flush();
    Ok((waits, own_time()? - before))
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, max_bytes, rate, seconds] = &words[..] else {
        return Err("usage: journal FOLDER MAX_BYTES RATE SECONDS".into());
    };
    let (folder, rate): (&Path, u64) = (Path::new(folder), rate.parse()?);
    let limits =
        config::Journal { max_bytes: max_bytes.parse::<u64>()?.try_into()?, ..config::Journal::default() };
    let (journal, mut inlet) = Journal::begin(folder, &limits)?;
    let time = Duration::from_secs(seconds.parse()?);
    let (mut source, mut given, mut waits, mut handing, mut bytes) = (Source::new(), 0_u64, 0, 0.0, 0);
    let (began, writer) = (Instant::now(), writer_time()?);
    while began.elapsed() < time {
        let due = match rate {
            0 => MANY,
            rate => ((began.elapsed() + ROUND).as_secs_f64() * rate as f64) as u64 - given,
        };
        let events: Vec<_> = (0..due).map(|_| source.next()).collect();
        let (waited, took) = give(&mut inlet, &events)?;
        given += due;
        (waits, handing) = (waits + waited, handing + took);
        bytes += events.iter().map(|(_, line)| line.len()).sum::<usize>();
        if rate != 0 {
            thread::sleep(ROUND);
        }
    }
    let (elapsed, status) = (began.elapsed().as_secs_f64(), journal.status());
    let writer = writer_time()? - writer;
    inlet.end(Duration::from_secs(60));
    let end = journal.status();
    println!("stored {}", status.written as f64 / elapsed);
    println!("waits {waits}");
    println!("writer {}", 100.0 * writer / elapsed);
    println!("handing {}", 100.0 * handing / elapsed);
    println!("line {}", bytes as f64 / given as f64);
    println!("kept {}", end.last + 1 - end.oldest);
    println!("size {}", Folder::open(folder)?.bytes());
    println!("missing {}", given - end.written);
    Ok(())
}
