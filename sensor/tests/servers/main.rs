//! The outputs against real servers, through a network that cuts, loses and hangs: `cargo xtask servers` brings the servers and runs
//! this. They run as nobody, where there is no network but loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that can't go on fails the test")]

mod elasticsearch;
mod kafka;
mod otlp;

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use sensor::output::{Far, Fate, Parcel};
use serde::de::DeserializeOwned;
use tests::proxy::{Mood, Proxy};
use tests::{Folder, Running};

/// Where there is nothing but loopback, for this thread and what it begins.
pub(crate) fn alone() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(up.unwrap().success());
}

/// A server at work.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _running: Running,
    _folder: Folder,
}

impl Server {
    /// A program of `target/tools/servers` with these words, which listens there when it is ready.
    pub(crate) fn start(program: &str, words: &[&str], address: SocketAddr) -> Self {
        let from = PathBuf::from(std::env::var_os("SENSOR_SERVERS").expect("run by `cargo xtask servers`"));
        let folder = Folder::new();
        let readable = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        readable(folder.path(), 0o755);
        let copy = folder.at("server");
        fs::copy(from.join(program), &copy).unwrap();
        readable(&copy, 0o755);
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
        ]);
        command.args(["--pdeathsig", "KILL"]).arg(copy).args(words).env_clear().current_dir(folder.path());
        let running = Running::start(command.stderr(Stdio::null()));
        let end = Instant::now() + tests::patience(tests::DEADLINE);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "{program} doesn't listen on {address}");
            std::thread::yield_now();
        }
        Self { address, _running: running, _folder: folder }
    }
}

/// A port of loopback: there is nobody else.
pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Settings as they stand in a file.
pub(crate) fn settings<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap()
}

/// So many events: ids, and lines of about the size that events have.
pub(crate) fn events(count: usize) -> Vec<(String, Vec<u8>)> {
    let event = |n| {
        let id = format!("e4057c27660c0d4b-{n}");
        let line = format!(
            "{{\"@timestamp\":\"2026-11-27T00:00:00.000000000Z\",\"ecs\":{{\"version\":\"9.4.0\"}},\"event\":{{\"kind\":\"event\",\"category\":\
             [\"process\"],\"type\":[\"start\"],\"action\":\"exec\",\"sequence\":{n},\"id\":\"{id}\"}},\"host\":{{\"name\":\"web-1\"}},\
             \"process\":{{\"pid\":{},\"entity_id\":\"fc150f9d037b1ac3bc524d2ab6688480\",\"executable\":\"/usr/bin/true\",\"args\":[\"/usr/bin/true\",\
             \"--number\",\"{n}\"],\"args_count\":3,\"working_directory\":\"/\",\"user\":{{\"id\":\"65534\",\"name\":\"nobody\"}}}}}}",
            n % 32768
        );
        (id, line.into_bytes())
    };
    (0..count).map(event).collect()
}

pub(crate) fn parcels(events: &[(String, Vec<u8>)]) -> Vec<Parcel<'_>> {
    let time = 1_764_201_600_000_000_000;
    events
        .iter()
        .map(|(id, bytes)| Parcel { id, time, action: "exec", severity: 0, host: "web-1", bytes })
        .collect()
}

/// Numbers that are the same each time.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(0x5eed)
    }

    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// What a network does to the next load.
pub(crate) type Fault = fn(&mut Dice) -> Mood;

/// What it does to a server's loads, one at a time and by turns.
pub(crate) const FAULTS: [(&str, Fault); 7] = [
    ("away", |_| Mood::Refuses),
    ("cut in a load", |dice| Mood::CutsQuestions(dice.throw(3_000))),
    ("cut in an answer", |dice| Mood::CutsAnswers(dice.throw(200))),
    ("an answer lost", |_| Mood::LosesAnswers(1500)),
    ("silent", |_| Mood::Swallows),
    ("slow", |_| Mood::Slow(4096, Duration::from_millis(1))),
    ("each by turns", by_turns),
];

fn by_turns(dice: &mut Dice) -> Mood {
    let [others @ .., _] = &FAULTS;
    others[dice.throw(others.len())].1(dice)
}

/// Events under each fault.
pub(crate) const EACH: usize = 1000;

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Day {
    pub(crate) loads: usize,
    pub(crate) errors: usize,
    pub(crate) refused: Vec<(String, String)>,
}

impl Day {
    /// Prints a row of `docs/outputs/tried.md`: how many came more often than once is given by the other side.
    pub(crate) fn row(&self, server: &str, fault: &str, doubled: usize) {
        let Self { loads, errors, refused } = self;
        println!("| {server} | {fault} | {EACH} | {loads}, {errors} | 0 | {doubled} | {} |", refused.len());
    }
}

/// Brings `EACH` events under each fault.
pub(crate) fn bad_days(far: &mut dyn Far, proxy: &Proxy, all: &[(String, Vec<u8>)]) -> Vec<Day> {
    let parts = all.chunks(EACH).zip(FAULTS);
    parts.map(|(part, (_, fault))| bad_day(far, proxy, &parcels(part), fault)).collect()
}

/// Brings all events, in order, at least once, through a proxy that does that to two loads, and nothing to the next two: of
/// two the first may only find its connection cut, as it is with each change.
fn bad_day(far: &mut dyn Far, proxy: &Proxy, all: &[Parcel<'_>], fault: Fault) -> Day {
    let each = EACH / 10;
    let (mut day, mut dice, mut done) = (Day::default(), Dice::new(), 0);
    while done < all.len() {
        match day.loads % 4 {
            0 => proxy.is(fault(&mut dice)),
            2 => proxy.is(Mood::Passes),
            _ => {}
        }
        let load = &all[done..all.len().min(done + each)];
        day.loads += 1;
        match far.bring(load) {
            Err(_) => day.errors += 1,
            Ok(fates) => {
                assert_eq!(fates.len(), load.len());
                let known = fates.iter().take_while(|fate| **fate != Fate::Again).count();
                for (parcel, fate) in load.iter().zip(&fates[..known]) {
                    if let Fate::Refused(why) = fate {
                        day.refused.push((parcel.id.to_owned(), why.clone()));
                    }
                }
                done += known;
            }
        }
        assert!(day.loads < 10 * (all.len() / each + 20), "it gets nowhere: {day:?}");
    }
    proxy.is(Mood::Passes);
    day
}

/// Prints how fast all of them went, in loads as large as the output takes.
pub(crate) fn pace(what: &str, far: &mut dyn Far, all: &[Parcel<'_>]) {
    let most = far.most();
    // A connection and its keys are no part of it.
    far.bring(&all[..1]).unwrap();
    let start = Instant::now();
    let mut done = 0;
    while done < all.len() {
        let mut bytes = 0;
        let fits = |parcel: &&Parcel<'_>| {
            bytes += parcel.bytes.len();
            bytes <= most.bytes
        };
        let count = all[done..].iter().take(most.events).take_while(fits).count();
        let fates = far.bring(&all[done..done + count]).unwrap();
        assert!(
            fates.iter().all(|fate| *fate == Fate::Arrived),
            "{:?}",
            fates.iter().find(|fate| **fate != Fate::Arrived)
        );
        done += count;
    }
    let seconds = start.elapsed().as_secs_f64();
    let size: usize = all.iter().map(|parcel| parcel.bytes.len()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
    let (rate, size) = (all.len() as f64 / seconds, size as f64 / all.len() as f64);
    println!("{what}: {rate:.0} events/s of {size:.0} bytes, {} at once", most.events);
}
