//! All that is known of a process, as a page for a person.

use super::{Facts, told};
use crate::{
    field::Field,
    format::{
        severity,
        table::{fit, size, span},
        text::{cell::shown, command, escape},
    },
    look::Look,
    net::found::State,
    procfs::descriptors::Target,
    record::{Record, Text, Value},
};

/// How wide the names of what is told are.
const NAMES: usize = 12;
/// Most cells of a line that no terminal bounds.
const WIDEST: usize = 4096;
/// More capabilities than these are told by their number.
const CAPABILITIES_MOST: usize = 8;
/// The namespaces, by what is written before each.
const NAMESPACES: [(&str, Field); 7] = [
    ("cgroup", Field::SensorNamespaceCgroup),
    ("ipc", Field::SensorNamespaceIpc),
    ("mnt", Field::SensorNamespaceMnt),
    ("net", Field::SensorNamespaceNet),
    ("pid", Field::SensorNamespacePid),
    ("user", Field::SensorNamespaceUser),
    ("uts", Field::SensorNamespaceUts),
];

/// Lines under names.
struct Page {
    out: String,
    width: usize,
}

impl Page {
    /// What is to be told under a name: nothing, a line or several.
    fn tell(&mut self, name: &str, lines: impl IntoIterator<Item = String>) {
        let mut name = name;
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            self.out.push_str(&fit(&format!("{name:NAMES$} {line}"), self.width));
            self.out.push('\n');
            name = "";
        }
    }
}

/// The page.
pub(super) fn page(
    record: &Record,
    facts: &Facts,
    look: &Look,
    width: Option<usize>,
    colour: bool,
) -> String {
    let mut page = Page { out: String::new(), width: width.unwrap_or(WIDEST) };
    page.tell("process", [who(record)]);
    // Why it is suspicious stands where it is seen first.
    let odd = record.number(Field::EventSeverity).unwrap_or(0);
    for note in record.texts(Field::SensorFindings) {
        let line = fit(&format!("{:NAMES$} ! {}", "", note.to_str_lossy()), page.width);
        match colour {
            true => page.out.push_str(&format!("\x1b[{}m{line}\x1b[0m\n", severity(odd).1)),
            false => page.out.push_str(&format!("{line}\n")),
        }
    }
    page.tell("command", [command(record)]);
    page.tell("directory", [shown(record, Field::ProcessWorkingDirectory)]);
    page.tell("executable", executable(record, facts));
    page.tell("parents", ancestors(record));
    page.tell("user", [users(record)]);
    page.tell("login", [login(record)]);
    page.tell("container", [shown(record, Field::ContainerId)]);
    page.tell("cgroup", [shown(record, Field::SensorCgroupPath)]);
    page.tell("namespaces", [namespaces(record, look)]);
    page.tell("capabilities", capabilities(record));
    page.tell("seccomp", [seccomp(record)]);
    page.tell(
        "mapped",
        facts.images.files.iter().skip(1).map(|file| {
            let state = if file.state == "present" { String::new() } else { format!(" ({})", file.state) };
            format!("{}  {}{state}", file.digest.sha256.to_str_lossy(), escape(file.path.as_bytes()))
        }),
    );
    page.tell("sockets", open(facts, true));
    page.tell("open", open(facts, false));
    page.tell("kept before", [kept(record)]);
    page.tell("environment", record.texts(Field::ProcessEnvVars).iter().map(|text| escape(text.as_bytes())));
    page.out
}

fn who(record: &Record) -> String {
    let mut who = format!("{} {}", shown(record, Field::ProcessPid), shown(record, Field::ProcessName));
    if let (Some(Value::Time(start)), Some(Value::Time(now))) =
        (record.get(Field::ProcessStart), record.get(Field::Timestamp))
    {
        let age = u64::try_from(now.0.saturating_sub(start.0) / 1_000_000_000).unwrap_or(0);
        who.push_str(&format!(", for {}", span(age)));
    }
    if let Some(ns) = record.number(Field::SensorUsageCpuNs) {
        who.push_str(&format!(", {} of CPU", span(ns / 1_000_000_000)));
    }
    if let Some(bytes) = record.number(Field::SensorUsageRssBytes) {
        who.push_str(&format!(", {} resident", size(bytes)));
    }
    let entity = shown(record, Field::ProcessEntityId);
    if entity.is_empty() { who } else { format!("{who}, entity {entity}") }
}

fn executable(record: &Record, facts: &Facts) -> Vec<String> {
    let path = shown(record, Field::ProcessExecutable);
    let verdict = shown(record, Field::SensorExeVerdict).replace('_', " ");
    let package = shown(record, Field::PackageName);
    let package = if package.is_empty() { String::new() } else { format!(", of the package {package}") };
    let first = match path.is_empty() {
        true => verdict,
        false => format!("{path} ({verdict}{package})"),
    };
    let hash = facts.images.files.first();
    let hash = hash.map(|own| format!("{}  {} bytes", own.digest.sha256.to_str_lossy(), own.digest.size));
    std::iter::once(first).chain(hash).collect()
}

fn ancestors(record: &Record) -> Vec<String> {
    let Some(Value::Records(all)) = record.get(Field::SensorAncestors) else { return Vec::new() };
    all.iter()
        .map(|ancestor| {
            let mut args = ancestor.texts(Field::AncestorArgs).iter().map(|arg| escape(arg.as_bytes()));
            let zeroth = args.next().unwrap_or_else(|| "[no executable]".to_owned());
            let path = shown(ancestor, Field::AncestorExecutable);
            let path = if path.is_empty() { zeroth } else { path };
            let args: Vec<String> = args.collect();
            format!("{:>7} {path} {}", shown(ancestor, Field::AncestorPid), args.join(" "))
        })
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn users(record: &Record) -> String {
    let user = |name, id| {
        let (name, id) = (shown(record, name), shown(record, id));
        if name.is_empty() { id } else { format!("{name} ({id})") }
    };
    let effective = user(Field::ProcessUserName, Field::ProcessUserId);
    let real = user(Field::ProcessRealUserName, Field::ProcessRealUserId);
    let real = if real == effective { String::new() } else { format!(", really {real}") };
    let saved = shown(record, Field::ProcessSavedUserId);
    let saved =
        if saved == shown(record, Field::ProcessUserId) { String::new() } else { format!(", saved {saved}") };
    format!("{effective}{real}{saved}, group {}", shown(record, Field::ProcessGroupId))
}

fn login(record: &Record) -> String {
    let uid = shown(record, Field::SensorLoginUid);
    let tty = shown(record, Field::SensorTty);
    let tty = if tty.is_empty() { "no terminal".to_owned() } else { format!("terminal {tty}") };
    let session = shown(record, Field::SensorLoginSession);
    let session = if session.is_empty() { String::new() } else { format!(", session {session}") };
    match uid.is_empty() {
        true => format!("none, {tty}"),
        false => format!("{} ({uid}){session}, {tty}", shown(record, Field::SensorLoginName)),
    }
}

/// Those that are others than ours have a mark.
fn namespaces(record: &Record, look: &Look) -> String {
    let own = look.table.at(std::process::id()).map(|own| own.actor.namespaces);
    let all = NAMESPACES.iter().enumerate().filter_map(|(at, (name, field))| {
        let number = record.number(*field)?;
        let ours = own.and_then(|own| own.get(at).copied()).map(u64::from);
        let mark = if ours.is_some_and(|ours| ours != number) { "*" } else { "" };
        Some(format!("{name} {number}{mark}"))
    });
    let all = all.collect::<Vec<_>>().join("  ");
    if all.contains('*') { format!("{all}  (* not ours)") } else { all }
}

fn capabilities(record: &Record) -> Vec<String> {
    let of = |name: &str, field| {
        let Some(Value::Flags(flags)) = record.get(field) else { return String::new() };
        let names: Vec<&str> = flags.words().collect();
        match names.len() {
            0 => format!("{name}: none"),
            count if count > CAPABILITIES_MOST => format!("{name}: {count} of them"),
            _ => format!("{name}: {}", names.join(" ")),
        }
    };
    vec![
        of("effective", Field::ProcessThreadCapabilitiesEffective),
        of("permitted", Field::ProcessThreadCapabilitiesPermitted),
        of("bounding", Field::SensorCapabilitiesBounding),
    ]
}

fn seccomp(record: &Record) -> String {
    let mode = shown(record, Field::SensorSeccompMode);
    let filters = record.number(Field::SensorSeccompFilters).filter(|filters| *filters != 0);
    let filters = filters.map(|filters| format!(", {filters} of them")).unwrap_or_default();
    let privileges = match record.get(Field::SensorNoNewPrivs) {
        Some(Value::Bool(true)) => "; an exec gives it no more privileges",
        _ => "",
    };
    format!("{mode}{filters}{privileges}")
}

/// What is open: sockets, or all else.
fn open(facts: &Facts, sockets: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for descriptor in &facts.descriptors {
        let socket = match descriptor.target {
            Target::Socket(inode) => Some(facts.sockets.get(&inode)),
            _ => None,
        };
        if socket.is_some() != sockets {
            continue;
        }
        let found = socket.flatten();
        let target = escape_words(&told::target(&descriptor.target, found));
        let traffic = found
            .filter(|found| found.state == State::Connected)
            .and_then(told::traffic)
            .map(|(received, sent)| format!(", {} received, {} sent", size(received), size(sent)));
        lines.push(format!("{:>4} {target}{}", descriptor.number, traffic.unwrap_or_default()));
    }
    lines
}

/// Ours has blanks, which need no quotes; a path is quoted as always.
fn escape_words(text: &Text) -> String {
    match text.as_bytes().starts_with(b"/") {
        true => escape(text.as_bytes()),
        false => {
            let word = |word: &[u8]| if word == b"->" { "->".to_owned() } else { escape(word) };
            text.as_bytes().split(|byte| *byte == b' ').map(word).collect::<Vec<_>>().join(" ")
        }
    }
}

/// What the sensor has of it from before: it keeps executables of alerts, and no other record.
fn kept(record: &Record) -> String {
    match record.text(Field::SensorEvidencePath) {
        Some(path) => format!("its executable, as {} (sensor recover)", escape(path.as_bytes())),
        None => "nothing of its executable among the evidence".to_owned(),
    }
}
