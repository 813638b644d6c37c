//! For `cargo xtask bench instructions`: records as the kernel gave them once, taken through what the loop does with each, as often as
//! is said; callgrind counts the instructions. Each part that is counted is a function of its own, which the compiler leaves alone.
//!
//! `replay record FILE`: runs small programs, and keeps what the kernel programs tell of them (as root).
//! `replay FILE PASSES`: prints how many events of each kind there were, a name and a number a line.
//!
//! What only a real kernel or /proc can answer isn't in it: marks, sweeps, hashes.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    fs,
    hint::black_box,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
};

use sensor::{
    config,
    enrich::Enricher,
    event::{
        self, Event, Fact, Stamp, exec::Exec, exit::Exit, fork::Fork, socket, socket::Side, socket::Socket,
        usage::Used,
    },
    field::Field,
    format::{Format, ecs::Ecs, ocsf::Ocsf, text::Lines},
    kernel::{Batch, Kernel, Options},
    process::{Image, Table},
    record::{Boot, Record, Text},
    redact::Redactor,
    sockets::{Known, Sockets},
    verdict::Verdicts,
};

type Failure = Box<dyn Error>;

/// What the small programs are: arguments with secrets and without, a script, a pipe, other folders, an end by a signal.
const WORK: &str = r#"
for at in 1 2 3 4; do
    /bin/true --config /etc/app/$at.conf --password=secret$at -v
    /bin/true --name "a name with spaces and \"quotes\"" --url http://user:word@localhost/
    id | cat
    (cd /usr; exec ls -l bin)
    /bin/sh -c 'kill -9 $$'
done
ldd --version
"#;
/// How many connections are made beside them.
const CONNECTIONS: usize = 12;
/// When the host of the records booted, nanoseconds of the epoch.
const BOOT: Boot = Boot(1_795_000_000_000_000_000);

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["record", file] => record(file),
        [file, passes] => replay(&fs::read(file)?, passes.parse()?),
        _ => Err("usage: replay record FILE, or replay FILE PASSES".into()),
    }
}

/// Keeps what is told of the small programs, one record after the other: each says its size.
fn record(file: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The rings are registered with it.
    let _entered = runtime.enter();
    let usual = config::Kernel::default();
    let mut kernel = Kernel::start(&Options {
        bulk_ring_bytes: usual.bulk_ring_bytes.get(),
        urgent_ring_bytes: usual.urgent_ring_bytes.get(),
        names: usual.names,
        hooks: Some(sensor::kernel::Hooks::Base),
        log: false,
        executed: None,
        actions: None,
    })?;
    let mut rows = Vec::new();
    kernel.sweep(&mut rows)?;
    work()?;
    // From here on whatever else happens isn't of interest, and shall not keep this busy.
    kernel.stop();
    let mut ours = HashSet::from([std::process::id()]);
    let mut kept: Vec<u8> = Vec::new();
    let mut keep = |row: &[u8]| -> Result<(), Failure> {
        let event = event::decode(row)?;
        if let Fact::Fork(fork) = &event.fact
            && ours.contains(&fork.creator.pid)
        {
            ours.insert(event.stamp.key.pid);
        }
        // Names that go are of the way that this kernel takes, and marks aren't there.
        if ours.contains(&event.stamp.key.pid) && !matches!(event.fact, Fact::Name(_)) {
            kept.extend(row);
        }
        Ok(())
    };
    sized(&rows).into_iter().try_for_each(&mut keep)?;
    let mut batch = Batch::default();
    loop {
        kernel.drain(&mut batch);
        if batch.is_empty() {
            break;
        }
        batch.iter().try_for_each(&mut keep)?;
        batch.clear();
    }
    fs::write(file, kept)?;
    Ok(())
}

fn work() -> Result<(), Failure> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(WORK).env_clear().current_dir("/");
    // What `kill` says of itself is of no interest.
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for _ in 0..CONNECTIONS {
        let mut from = TcpStream::connect(listener.local_addr()?)?;
        let (mut to, _) = listener.accept()?;
        from.write_all(b"question")?;
        drop(from);
        to.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Records that lie one after the other.
fn sized(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some(size) = bytes.get(24..28).and_then(|size| size.first_chunk()) {
        let size = u32::from_le_bytes(*size) as usize;
        let Some((record, rest)) = bytes.split_at_checked(size).filter(|_| size != 0) else { break };
        records.push(record);
        bytes = rest;
    }
    records
}

fn replay(bytes: &[u8], passes: u32) -> Result<(), Failure> {
    let records = sized(bytes);
    // In order of time, as the loop takes them from both rings.
    let mut batch = Batch::default();
    records.iter().for_each(|record| batch.push(record));
    let mut counts = BTreeMap::new();
    for _ in 0..passes {
        let mut host = Host::new()?;
        batch.order(None);
        for record in batch.iter() {
            let kind = host.take(record).map_err(|error| format!("{error}: record it anew"))?;
            *counts.entry(kind).or_insert(0_u64) += 1;
        }
    }
    for (kind, count) in counts {
        println!("{kind} {count}");
    }
    Ok(())
}

/// What the loop knows.
struct Host {
    table: Table,
    verdicts: Verdicts,
    sockets: Sockets,
    enricher: Enricher,
    common: Record,
    sequence: u64,
    line: Vec<u8>,
}

impl Host {
    fn new() -> Result<Self, Failure> {
        let mut common = Record::new();
        common.set(Field::EcsVersion, "9.4.0");
        common.set(Field::HostName, "web-1");
        common.set(Field::HostId, "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
        common.set(Field::HostBootId, "6f1c0f5e-0000-4000-8000-5d0c7a3b9e21");
        common.set(Field::SensorVersion, "0.1.0");
        let mut table = Table::new("6f1c0f5e-0000-4000-8000-5d0c7a3b9e21".to_owned(), BOOT);
        table.mask(Some(Redactor::new([])));
        Ok(Self {
            table,
            verdicts: Verdicts::default(),
            sockets: Sockets::default(),
            // No user has a name, whoever runs this.
            enricher: Enricher::new(PathBuf::from("/dev/null"), BOOT),
            common,
            sequence: 0,
            line: Vec::new(),
        })
    }

    /// Takes a record; gives its kind.
    fn take(&mut self, record: &[u8]) -> Result<&'static str, Failure> {
        let told = match event::decode(record)?.fact {
            Fact::Fork(_) => ("fork", counted::fork(self, record)),
            Fact::Exec(_) => ("exec", counted::exec(self, record)),
            Fact::Exit(_) => ("exit", counted::exit(self, record)),
            Fact::SocketBind(_)
            | Fact::SocketListen(_)
            | Fact::SocketConnect(_)
            | Fact::SocketAccept(_)
            | Fact::SocketClose(_) => ("socket", counted::socket(self, record)),
            _ => ("other", counted::other(self, record)),
        };
        let (kind, result) = told;
        if let Some(record) = result? {
            counted::write_ocsf(&record, &mut self.line);
            counted::write_text(&record, &mut self.line);
        }
        Ok(kind)
    }

    fn tell(
        &mut self,
        action: &'static event::Action,
        stamp: Stamp,
        set: impl FnOnce(&mut Record),
    ) -> Record {
        let mut record = action.record();
        if let Some(process) = self.table.known(stamp.key) {
            self.enricher.set(process, &mut record);
        }
        record.set(Field::ProcessThreadId, stamp.thread);
        set(&mut record);
        self.sequence += 1;
        record.extend_from(&self.common);
        record.set(Field::Timestamp, self.enricher.boot.at(stamp.time));
        record.set(Field::EventSequence, self.sequence);
        record.set(Field::EventId, Text::numbered("e4057c27660c0d4b", self.sequence));
        record
    }

    fn forked(&mut self, stamp: Stamp, actor: event::Actor, fork: &Fork) -> Record {
        self.table.born(stamp.key, actor, fork.creator);
        self.tell(&event::fork::ACTION, stamp, |_| {})
    }

    fn executed(&mut self, stamp: Stamp, actor: event::Actor, exec: &Exec) -> Record {
        self.verdicts.left(stamp.key);
        let (_, before) = self.table.became(stamp.key, stamp.time, actor, exec);
        let mut extra = Record::new();
        if let Some(process) = self.table.get(stamp.key) {
            Enricher::set_before(process, before.as_ref(), &mut extra);
        }
        self.tell(&event::exec::ACTION, stamp, |record| record.extend(extra))
    }

    fn exited(&mut self, stamp: Stamp, actor: event::Actor, exit: &Exit) -> Record {
        self.table.refresh(stamp.key, actor);
        self.verdicts.look(&mut self.table, stamp.key, &exit.running, stamp.time);
        let life = Used { cpu_ns: exit.cpu_ns, io: exit.io, net: None };
        let end = self.enricher.boot.at(stamp.time);
        let record = self.tell(&event::exit::ACTION, stamp, |record| {
            record.set(Field::ProcessEnd, end);
            exit.set(record, 4096, |_| Some("SIGKILL"));
            life.set(record);
        });
        self.table.ended(stamp.key, stamp.time);
        record
    }

    fn moved(&mut self, stamp: Stamp, actor: event::Actor, fact: &Fact) -> Option<Record> {
        self.table.refresh(stamp.key, actor);
        let mut peers = |action, socket: &Socket, began| {
            let known = Known { owner: Some(stamp.key), began, ends: socket.ends() };
            self.sockets.connected(socket.cookie, known);
            self.tell(action, stamp, |record| {
                socket.set_peers(record, began);
                socket.set_outcome(record, true);
            })
        };
        Some(match fact {
            Fact::SocketConnect(socket) => peers(&socket::CONNECT, socket, Side::Here),
            Fact::SocketAccept(socket) => peers(&socket::ACCEPT, socket, Side::There),
            Fact::SocketBind(socket) => self.tell(&socket::BIND, stamp, |record| socket.set_server(record)),
            Fact::SocketListen(socket) => {
                self.sockets.listens(socket, stamp.key);
                self.tell(&socket::LISTEN, stamp, |record| socket.set_server(record))
            }
            Fact::SocketClose(socket) => {
                let began = self.sockets.ended(socket.cookie).map_or(Side::Here, |known| known.began);
                self.tell(&socket::CLOSE, stamp, |record| {
                    socket.set_peers(record, began);
                    socket.set_moved(record, began);
                })
            }
            _ => return None,
        })
    }
}

/// What is counted. Callgrind tells of each what was done in it and below.
mod counted {
    use super::*;

    type Told = Result<Option<Record>, Failure>;

    #[inline(never)]
    fn decode(record: &[u8]) -> Result<Event, Failure> {
        Ok(event::decode(record)?)
    }

    #[inline(never)]
    fn correlate_and_describe(host: &mut Host, event: Event) -> Option<Record> {
        let Event { stamp, actor, fact } = event;
        match &fact {
            Fact::Fork(fork) => Some(host.forked(stamp, actor, fork)),
            Fact::Exec(exec) => Some(host.executed(stamp, actor, exec)),
            Fact::Exit(exit) => Some(host.exited(stamp, actor, exit)),
            // Who was there before.
            Fact::Image(image) => {
                host.table.found(stamp.key, actor, Image { running: image.running, ..Image::default() });
                None
            }
            fact => host.moved(stamp, actor, fact),
        }
    }

    #[inline(never)]
    fn write_ecs(record: &Record, line: &mut Vec<u8>) {
        write(&Ecs, record, line);
    }

    #[inline(never)]
    pub(super) fn write_ocsf(record: &Record, line: &mut Vec<u8>) {
        write(&Ocsf, record, line);
    }

    #[inline(never)]
    pub(super) fn write_text(record: &Record, line: &mut Vec<u8>) {
        write(&Lines { colour: false }, record, line);
    }

    fn write(format: &dyn Format, record: &Record, line: &mut Vec<u8>) {
        line.clear();
        format.write(record, line);
        black_box(line);
    }

    /// From a record to a line of ECS; its `what` keeps functions apart that would else be one.
    fn whole(host: &mut Host, record: &[u8], what: &str) -> Told {
        black_box(what);
        let told = correlate_and_describe(host, decode(record)?);
        if let Some(told) = &told {
            write_ecs(told, &mut host.line);
        }
        Ok(told)
    }

    #[inline(never)]
    pub(super) fn fork(host: &mut Host, record: &[u8]) -> Told {
        whole(host, record, "fork")
    }

    #[inline(never)]
    pub(super) fn exec(host: &mut Host, record: &[u8]) -> Told {
        whole(host, record, "exec")
    }

    #[inline(never)]
    pub(super) fn exit(host: &mut Host, record: &[u8]) -> Told {
        whole(host, record, "exit")
    }

    #[inline(never)]
    pub(super) fn socket(host: &mut Host, record: &[u8]) -> Told {
        whole(host, record, "socket")
    }

    #[inline(never)]
    pub(super) fn other(host: &mut Host, record: &[u8]) -> Told {
        whole(host, record, "other")
    }
}
