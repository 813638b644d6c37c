//! What starts a process again: its parent, its systemd unit, timers, cron and at tables, inittab, commands of ssh keys.
//!
//! Users write some of these files: each is opened as a trap may be, and what is read is bounded.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::verify::Comer;
use crate::{
    format::text::escape,
    histories::homes::{User, users},
    host::{Host, since_boot},
    record::Text,
    untrusted,
};

/// Most bytes of one file that are read.
const MOST_BYTES: u64 = 1024 * 1024;
/// Most files of one folder, and most users whose keys are looked at.
const MOST_FILES: usize = 4096;
/// Longest that all of it may take: what users wrote there may be much.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Most lines that are told.
const MOST_LINES: usize = 32;
/// What is run with another's text as its program: that it is named in a table says nothing.
const GENERAL: [&str; 12] =
    ["sh", "bash", "dash", "ash", "zsh", "ksh", "busybox", "env", "perl", "python", "python3", "sleep"];

/// A sort of files that start something.
struct Place {
    kind: &'static str,
    paths: &'static [&'static str],
    /// Which lines start something.
    starts: fn(&[u8]) -> bool,
}

const PLACES: [Place; 5] = [
    Place {
        kind: "cron",
        paths: &[
            "/etc/crontab",
            "/etc/anacrontab",
            "/etc/cron.d",
            "/etc/cron.hourly",
            "/etc/cron.daily",
            "/etc/cron.weekly",
            "/etc/cron.monthly",
            "/var/spool/cron/crontabs",
            "/var/spool/cron",
        ],
        starts: |_| true,
    },
    Place { kind: "at", paths: &["/var/spool/cron/atjobs", "/var/spool/at"], starts: |_| true },
    Place { kind: "inittab", paths: &["/etc/inittab"], starts: |_| true },
    Place { kind: "systemd", paths: UNITS, starts: |line| line.starts_with(b"Exec") },
    Place { kind: "profile", paths: &["/etc/rc.local", "/etc/profile.d"], starts: |_| true },
];

/// Where systemd's units are, the first that has one counts (`systemd.unit(5)`).
const UNITS: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/etc/systemd/user",
];

/// What starts one who came again, a sentence each: the surest first; as far as can be found until then.
#[must_use]
pub fn starters(host: &Host, comer: &Comer, until: Duration) -> Vec<String> {
    let mut found = Vec::new();
    let unit = comer.cgroup.as_ref().and_then(unit_of);
    if let Some(unit) = &unit {
        found.push(unit_told(host.root(), unit));
    }
    let parent = comer.row.actor.parent;
    match &comer.parent {
        Some(name) if parent > 1 => {
            found.push(format!("its parent, process {parent} ({})", escape(name.as_bytes())));
        }
        Some(_) if unit.is_none() => {
            found.push("its parent has ended, so the first process has it".to_owned());
        }
        Some(_) | None => {}
    }
    let needles = needles(comer);
    for place in &PLACES {
        for path in place.paths {
            for file in files(host.root(), Path::new(path)).iter().take_while(|_| since_boot() < until) {
                found.append(&mut named(host.root(), file, place, &needles));
            }
        }
    }
    let keys = Place { kind: "ssh key", paths: &[], starts: |line| has(line, b"command=") };
    let users = users(&host.passwd()).into_iter().take(MOST_FILES);
    for User { name, home, .. } in users.take_while(|_| since_boot() < until) {
        for file in ["authorized_keys", "authorized_keys2"] {
            let lines = named(host.root(), &home.join(".ssh").join(file), &keys, &needles);
            found.extend(
                lines.into_iter().map(|line| format!("{line}, at a login of {}", escape(name.as_bytes()))),
            );
        }
    }
    found.truncate(MOST_LINES);
    if since_boot() >= until {
        found.push(format!("maybe more: not all was looked at within {} s", PATIENCE.as_secs()));
    }
    found
}

/// What it would be called by in a table: its executable, and whatever path its arguments name.
fn needles(comer: &Comer) -> Vec<Text> {
    let base = |text: &Text| {
        let bytes = text.as_bytes();
        bytes.rsplit(|byte| *byte == b'/').next().map(|name| String::from_utf8_lossy(name).into_owned())
    };
    let general = |text: &Text| base(text).is_none_or(|name| GENERAL.contains(&name.as_str()));
    let paths = comer.executable.iter().chain(comer.args.iter().take(16));
    let mut needles: Vec<Text> = paths
        .filter(|text| text.as_bytes().starts_with(b"/") && text.len() > 2 && !general(text))
        .cloned()
        .collect();
    needles.sort_unstable();
    needles.dedup();
    needles
}

/// The lines of a file that start something and name one of these.
fn named(root: &Path, file: &Path, place: &Place, needles: &[Text]) -> Vec<String> {
    if needles.is_empty() {
        return Vec::new();
    }
    let read = untrusted::open(root, file).map_err(drop).and_then(|file| file.head(MOST_BYTES).map_err(drop));
    let Ok(bytes) = read else { return Vec::new() };
    let mut lines = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii_start();
        let names = needles.iter().any(|needle| has(line, needle.as_bytes()));
        if names && !line.starts_with(b"#") && (place.starts)(line) {
            let timer = timer_of(root, file).unwrap_or_default();
            let path = escape(file.as_os_str().as_bytes());
            lines.push(format!("{}: {path}, line {}{timer}", place.kind, number + 1));
        }
    }
    lines
}

/// A file itself, or those in a folder, of which only root writes the names.
fn files(root: &Path, path: &Path) -> Vec<PathBuf> {
    let under = root.join(path.strip_prefix("/").unwrap_or(path));
    let Ok(entries) = fs::read_dir(&under) else { return vec![path.to_owned()] };
    let mut files: Vec<PathBuf> =
        entries.take(MOST_FILES).filter_map(Result::ok).map(|entry| path.join(entry.file_name())).collect();
    files.sort_unstable();
    files
}

fn has(line: &[u8], needle: &[u8]) -> bool {
    line.windows(needle.len()).any(|part| part == needle)
}

/// Says so where a timer starts the unit that is in this file.
fn timer_of(root: &Path, file: &Path) -> Option<String> {
    let timer = file.with_extension("timer");
    let is_unit = file.extension().is_some_and(|end| end == "service");
    let there = is_unit && root.join(timer.strip_prefix("/").unwrap_or(&timer)).exists();
    there.then(|| format!(", by the timer {}", escape(timer.as_os_str().as_bytes())))
}

/// The unit in a cgroup's path: the last part of it that is one, and no slice.
fn unit_of(cgroup: &Text) -> Option<Text> {
    let is_unit = |name: &&[u8]| name.ends_with(b".service") || name.ends_with(b".scope");
    cgroup.as_bytes().rsplit(|byte| *byte == b'/').find(is_unit).map(Text::copy_from)
}

/// What is known of a unit.
fn unit_told(root: &Path, unit: &Text) -> String {
    let shown = escape(unit.as_bytes());
    let name = Path::new(std::ffi::OsStr::from_bytes(unit.as_bytes()));
    for folder in UNITS {
        let path = Path::new(folder).join(name);
        let Ok(file) = untrusted::open(root, &path) else { continue };
        let text = file.head(MOST_BYTES).unwrap_or_default();
        let restart = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Restart="));
        let restart = restart.map_or_else(String::new, |line| format!(", {}", escape(line)));
        let path = escape(path.as_os_str().as_bytes());
        return format!("systemd unit {shown} ({path}{restart}): systemctl stop {shown}");
    }
    format!("systemd unit {shown}: systemctl stop {shown}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{
        event::{Actor, Key, Running},
        look::Row,
    };

    fn comer(executable: &str, args: &[&str], cgroup: &str) -> Comer {
        let actor = Actor { parent: 77, ..Actor::default() };
        Comer {
            row: Row { key: Key::default(), actor, running: Running::default() },
            name: "x".into(),
            executable: Some(Text::from(executable.to_owned())),
            args: args.iter().map(|arg| Text::from((*arg).to_owned())).collect(),
            cgroup: Some(Text::from(cgroup.to_owned())),
            parent: Some("keeper\n".into()),
            spared: false,
        }
    }

    #[test]
    fn what_starts_it_is_found_and_traps_are_not() {
        let root = std::env::temp_dir().join(format!("sensor-respawn-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/sys/kernel/random/boot_id", "x");
        put("etc/passwd", "alice:x:1000:1000::/home/alice:/bin/sh\n");
        put("etc/cron.d/bad", "# /opt/agent\n* * * * * root /opt/agent -q\n");
        put("etc/cron.d/good", "* * * * * root /opt/other\n");
        put("etc/systemd/system/agent.service", "[Service]\nRestart=always\nExecStart=/opt/agent\n");
        put("etc/systemd/system/agent.timer", "[Timer]\n");
        put("var/spool/cron/atjobs/a1", "cd /\n/opt/agent\n");
        put(
            "home/alice/.ssh/authorized_keys",
            "command=\"/opt/agent\" ssh-ed25519 A\nssh-ed25519 /opt/agent\n",
        );
        symlink("/etc/shadow", root.join("etc/crontab")).unwrap();
        let later = || since_boot() + PATIENCE;
        let host = Host::under(&root).unwrap();
        let found = starters(&host, &comer("/opt/agent", &[], "/system.slice/agent.service"), later());
        let wanted = [
            "systemd unit agent.service (/etc/systemd/system/agent.service, Restart=always): systemctl stop agent.service",
            "its parent, process 77 ($'keeper\\x0a')",
            "cron: /etc/cron.d/bad, line 2",
            "at: /var/spool/cron/atjobs/a1, line 2",
            "systemd: /etc/systemd/system/agent.service, line 3, by the timer /etc/systemd/system/agent.timer",
            "ssh key: /home/alice/.ssh/authorized_keys, line 1, at a login of alice",
        ];
        assert_eq!(found, wanted);
        // A shell is named everywhere: what it runs counts.
        assert_eq!(starters(&host, &comer("/bin/sh", &["sh", "-c", "x"], "/"), later()).len(), 1);
        assert_eq!(starters(&host, &comer("/bin/sh", &["sh", "/opt/agent"], "/"), later()).len(), 5);
        let late = starters(&host, &comer("/opt/agent", &[], "/system.slice/agent.service"), since_boot());
        assert_eq!(late.len(), 3, "{late:?}");
        fs::remove_dir_all(&root).unwrap();
    }
}
